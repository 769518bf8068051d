"""Images of a validation that are shown, chosen and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from learned_saliency.visualization import Picture, shown_channels


class Drawn:
    """Images drawn from the batches of a validation: the first ones, or at random by a seed.

    A validation that gives the same images in the same order has the same drawn each time.

    Args:
        count: Number of images.
        seed: Seed of the draw; None for the first images.
    """

    def __init__(self, count: int, seed: int | None) -> None:
        self.count, self.seed = count, seed
        self.begin()

    def begin(self) -> None:
        """Forget the images of the validation before."""
        self._next = 0
        self._kept: list[tuple[float, int, Tensor]] = []

    def add(self, images: Tensor) -> None:
        """Take some of the images of a batch, (B, C, H, W), as copies on the CPU."""
        for image in images:
            place, self._next = self._next, self._next + 1
            key = 0.0
            if self.seed is not None:
                key = np.random.default_rng([self.seed, place]).random()
            elif place >= self.count:
                return
            if len(self._kept) < self.count or (key, place) < self._kept[-1][:2]:
                kept = [*self._kept, (key, place, image.detach().to("cpu", copy=True))]
                self._kept = sorted(kept, key=lambda entry: entry[:2])[: self.count]

    def images(self) -> list[Tensor]:
        """Return the images in the order of the validation, (C, H, W) each."""
        return [image for _, _, image in sorted(self._kept, key=lambda entry: entry[1])]


def first_images(batch: Any) -> Tensor:
    """Find the images of a batch: its first floating-point tensor of four dimensions.

    Args:
        batch: A tensor, or tuples, lists and dictionaries with one in them.

    Returns:
        Images of shape (B, C, H, W).

    Raises:
        ValueError: If there is none.
    """
    for value in pytree.tree_leaves(batch):
        if isinstance(value, Tensor) and value.dim() == 4 and value.is_floating_point():
            return value
    raise ValueError(
        "SaliencyCallback finds no images (B, C, H, W) of floating point in the batches of the "
        "validation: give it batch_to_images=, a function of a batch to its images"
    )


def to_colors(image: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> Picture:
    """Make a picture (H, W, 3) of an image (C, H, W), whose normalization is undone.

    Args:
        image: Of any number of channels, of which `shown_channels` chooses three.
        mean: Mean of each channel; None to stretch values beyond [0, 1] to it.
        std: Standard deviation of each channel, or None.
    """
    values = image.float()
    if mean is not None:
        shape = (-1, 1, 1)
        values = values * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    elif values.min() < 0 or values.max() > 1:
        values = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-6)
    values = values[shown_channels(len(values))]
    colors = (values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    return np.ascontiguousarray(colors.numpy())
