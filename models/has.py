"""Hiding of random cells of training images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class HideAndSeek(nn.Module):
    """Hide random cells of a grid in training images: Hide-and-Seek (Singh and Lee, ICCV 2017).

    An image is cut into square cells, each of which is hidden with a probability of its own draw,
    so that a network has to find other parts of an object than the most telling one. Hidden pixels
    get the images' mean, which is 0 in normalized images: so the first layer's mean activation is
    that of whole images. In evaluation mode images pass as they are.

    The grid begins at the upper left corner. Where its cells do not divide the image, those at the
    lower and the right border are cut off, and hidden as often as whole ones; at 224 pixels and
    cells of 44 that is a strip of 4 pixels. So do the released code and the WSOL benchmark's.

    A list of several sizes draws one per image, as the released code does for its mixed model,
    ``(0, 16, 32, 44, 56)``; 0 hides nothing.

    Args:
        sizes: Sides of the cells in pixels of an image of ``reference_size``, each at least 0, and
            one above 0.
        probability: Probability that a cell is hidden, in [0, 1].
        reference_size: Side of the images that ``sizes`` are meant for. Cells of an image of H x W
            pixels are larger by sqrt(H W) / reference_size, and begin at the next whole pixel.

    Raises:
        ValueError: If an option is out of range.
    """

    sizes: Tensor

    def __init__(
        self, sizes: Sequence[int] = (44,), probability: float = 0.5, reference_size: int = 224
    ) -> None:
        super().__init__()
        if not sizes or min(sizes) < 0 or max(sizes) == 0:
            raise ValueError(f"sizes must be at least 0, and one above 0, got {list(sizes)}")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], got {probability}")
        if reference_size < 1:
            raise ValueError(f"reference_size must be at least 1, got {reference_size}")
        self.register_buffer("sizes", torch.tensor(list(sizes)), persistent=False)
        self.smallest = min(size for size in sizes if size > 0)
        self.probability = probability
        self.reference_size = reference_size

    def forward(self, images: Tensor) -> Tensor:
        """Hide cells of normalized images (B, 3, H, W); the given images stay as they are."""
        if not self.training:
            return images
        device, batch = images.device, len(images)
        sizes = self.sizes[torch.randint(len(self.sizes), (batch,), device=device)]
        longest, side = max(images.shape[-2:]), _side(images.shape[-2:])
        cells = -(-longest * self.reference_size // (self.smallest * side))  # rounded up
        hidden = torch.rand(batch, cells, cells, device=device) < self.probability
        pixels = hidden_pixels(hidden, sizes, images.shape[-2:], self.reference_size)
        return images.masked_fill(pixels[:, None], 0.0)

    def extra_repr(self) -> str:
        """Show the options."""
        return (
            f"sizes={self.sizes.tolist()}, probability={self.probability}, "
            f"reference_size={self.reference_size}"
        )


def hidden_pixels(
    cells: Tensor, sizes: Tensor, shape: Sequence[int], reference_size: int
) -> Tensor:
    """Mark the pixels of hidden cells.

    Args:
        cells: Cells to hide, by row and column of the grid, bool (B, n, n); a grid of fewer cells
            reads the first ones.
        sizes: Side of an image's cells at ``reference_size``, int64 (B,); 0 hides nothing.
        shape: Height H and width W of the images.
        reference_size: See `HideAndSeek`.

    Returns:
        Pixels, bool (B, H, W).
    """
    scaled = (sizes.clamp(min=1) * _side(shape))[:, None]
    rows, columns = (
        (torch.arange(length, device=sizes.device) * reference_size // scaled)
        .clamp(max=cells.shape[-1] - 1)
        .expand(len(sizes), -1)
        for length in shape
    )
    image = torch.arange(len(sizes), device=sizes.device)[:, None, None]
    hidden = cells[image, rows[:, :, None], columns[:, None, :]]
    return hidden & (sizes > 0)[:, None, None]


def _side(shape: Sequence[int]) -> int:
    """Round the side of the square that is as large as an image of height H and width W."""
    height, width = shape
    return round((height * width) ** 0.5)
