"""Mixing of training images: a box of each is replaced by another image's."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

#: Column and row where a box begins, and where it has ended: x0, y0, x1, y1.
Box = tuple[int, int, int, int]


class MixedImages(NamedTuple):
    """Mixed images of a batch.

    Attributes:
        images: The images, (B, 3, H, W).
        partners: Index of the image that each image's box comes from, int64 (B,).
        share: Share of an image's pixels that are its own, the same for the batch, in [0, 1].
    """

    images: Tensor
    partners: Tensor
    share: float


class CutMix(nn.Module):
    """Replace a box of each training image by another image's (Yun et al., CutMix, ICCV 2019).

    With probability ``probability`` the images of a batch are mixed, all with one box:

        x~ = M x_A + (1 - M) x_B,   y~ = lambda y_A + (1 - lambda) y_B     (Eq. 1)

    where M is 0 in the box, B a permutation of the batch and lambda drawn from Beta(beta, beta).
    The box has the sides W sqrt(1 - lambda) and H sqrt(1 - lambda) around a uniform point (Eq. 2).
    It is cut off at the image's border; lambda is then the share of pixels that are left, as in the
    released code, whose rounding this is: sides lose their fraction, halves of sides, too. In
    evaluation mode images pass as they are.

    Args:
        beta: Both parameters of the Beta distribution, alpha in the paper, above 0; 1 draws lambda
            uniformly.
        probability: Probability that a batch is mixed, in [0, 1].

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, beta: float = 1.0, probability: float = 1.0) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta must be above 0, got {beta}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {probability}")
        self.beta = beta
        self.probability = probability

    def forward(self, images: Tensor) -> MixedImages:
        """Mix images (B, 3, H, W); the given images stay as they are."""
        if not self.training or float(torch.rand(())) >= self.probability:
            return MixedImages(images, torch.arange(len(images), device=images.device), 1.0)
        height, width = images.shape[-2:]
        # drawn on the CPU, so that nothing waits for the images' device
        own_share = float(torch.distributions.Beta(self.beta, self.beta).sample())
        x, y = (int(torch.randint(length, ())) for length in (width, height))
        box = cut_box(own_share, (x, y), (height, width))
        partners = torch.randperm(len(images), device=images.device)
        mixed = mix_images(images, partners, box)
        return MixedImages(mixed, partners, _outside(box, (height, width)))

    def extra_repr(self) -> str:
        """Show the options."""
        return f"beta={self.beta}, probability={self.probability}"


def cut_box(own_share: float, center: tuple[int, int], shape: tuple[int, int]) -> Box:
    """Place the box that another image fills (Eq. 2).

    Args:
        own_share: Share of the pixels that an image is to keep, lambda, in [0, 1].
        center: Column x and row y of the box's middle.
        shape: Height H and width W of the images.

    Returns:
        The part of the box that lies within the image; x1 and y1 are outside of it.
    """
    (x, y), (height, width), side = center, shape, (1 - own_share) ** 0.5
    half_width, half_height = int(width * side) // 2, int(height * side) // 2
    return (
        max(x - half_width, 0),
        max(y - half_height, 0),
        min(x + half_width, width),
        min(y + half_height, height),
    )


def _outside(box: Box, shape: tuple[int, int]) -> float:
    """Compute the share of pixels outside of a box in an image of height H and width W."""
    x0, y0, x1, y1 = box
    height, width = shape
    return 1 - (x1 - x0) * (y1 - y0) / (height * width)


def mix_images(images: Tensor, partners: Tensor, box: Box) -> Tensor:
    """Replace a box of each image by that of its partner (Eq. 1).

    Args:
        images: Shape (B, 3, H, W).
        partners: Index of each image's partner, int64 (B,).
        box: The box, x1 and y1 outside of it.

    Returns:
        New images of the same shape.
    """
    x0, y0, x1, y1 = box
    mixed = images.clone()
    mixed[:, :, y0:y1, x0:x1] = images[partners, :, y0:y1, x0:x1]
    return mixed
