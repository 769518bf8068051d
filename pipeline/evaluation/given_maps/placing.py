"""Placement of finished maps in the pixels that are evaluated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learned_saliency.datamodules import Size, placement

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


def resized(
    values: NDArray[np.float32], size: int | Sequence[int], way: str = "bilinear"
) -> NDArray[np.float32]:
    """Resize a map (h, w) to ``size`` as images are: antialiased if it shrinks.

    Args:
        values: float32 (h, w).
        size: Side of a square in pixels, or height and width.
        way: A key of `RESAMPLING`.
    """
    return _resized(values, Size.of(size)[::-1], way)


def cut(
    values: NDArray[np.float32],
    width: int,
    height: int,
    size: int | Sequence[int],
    center_crop: bool | int,
    way: str = "bilinear",
) -> NDArray[np.float32]:
    """Take of a map of a whole image the middle, as it is taken of the image.

    Args:
        values: float32 (h, w), of any size: it covers the whole image.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        size: Side of a square in pixels, or height H and width W, of what is taken.
        center_crop: See `datamodules.read_resized`.
        way: A key of `RESAMPLING`.

    Returns:
        float32 (H, W).
    """
    size = Size.of(size)
    edges, (left, top) = placement(width, height, size, center_crop)
    whole = _resized(values, edges, way)
    return whole[top : top + size.height, left : left + size.width]


def _resized(values: NDArray[np.float32], edges: tuple[int, int], way: str) -> NDArray[np.float32]:
    if values.shape == edges[::-1]:
        return values
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize(edges, RESAMPLING[way]))
