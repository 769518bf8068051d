"""Pseudo-labels of F-CAM by compiled loops."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from learned_saliency.ops.backends.compiling import compiled_loops
from learned_saliency.ops.backends.threads import over_images


class SeedNumbers(NamedTuple):
    """Random numbers behind the pseudo-labels of a batch, int64."""

    start: Tensor  # (B,)
    foreground: Tensor  # (B, N)
    background: Tensor  # (B, M)


def seed_loops(maps: Tensor) -> ModuleType | None:
    """Return the compiled loops for maps; None where they have none."""
    if maps.device.type != "cpu" or maps.dtype not in (torch.float32, torch.float64):
        return None
    return compiled_loops("seeds")


def label_images(
    loops: ModuleType,
    maps: Tensor,
    numbers: SeedNumbers,
    lowest: int,
    erosion: int,
    dilation: int,
    ignore: int,
) -> Tensor:
    """Draw the pseudo-labels that `losses.SeedSampler` describes, each thread an image at a time.

    Args:
        loops: The `seed_loops` of the maps.
        maps: Maps of shape (B, H, W) in [0, 1].
        numbers: Random numbers.
        lowest: Number of pixels of a map that may be background.
        erosion: Side of the square that erodes the foreground, odd, or 0.
        dilation: Side of the square around a drawn pixel, odd.
        ignore: Label of all other pixels.

    Returns:
        Labels of shape (B, H, W), int64: 1, 0 or ``ignore``.
    """
    labels = torch.empty(maps.shape, dtype=torch.int64)
    images, rooms = maps.detach().contiguous().numpy(), labels.numpy()
    start, foreground, background = (part.numpy() for part in numbers)

    def work(indices: Iterator[int]) -> None:
        for i in indices:
            drawn = start[i], foreground[i], background[i]
            loops.label_image(images[i], rooms[i], lowest, erosion, dilation, *drawn, ignore)

    over_images(work, len(images))
    return labels
