"""Placement of finished maps in the square of pixels that is evaluated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learned_saliency.datamodules import placement

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


def resized(values: NDArray[np.float32], size: int, way: str = "bilinear") -> NDArray[np.float32]:
    """Resize a map (h, w) to a square of ``size`` pixels as images are: antialiased if it shrinks.

    Args:
        values: float32 (h, w).
        size: Side of the square.
        way: A key of `RESAMPLING`.
    """
    return _resized(values, (size, size), way)


def cut(
    values: NDArray[np.float32],
    width: int,
    height: int,
    size: int,
    center_crop: bool | int,
    way: str = "bilinear",
) -> NDArray[np.float32]:
    """Take a map of a whole image to the square in its middle, as the image is taken there.

    Args:
        values: float32 (h, w), of any size: it covers the whole image.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        size: Side S of the square.
        center_crop: See `datamodules.read_square`.
        way: A key of `RESAMPLING`.

    Returns:
        float32 (S, S).
    """
    edges, (left, top) = placement(width, height, size, center_crop)
    return _resized(values, edges, way)[top : top + size, left : left + size]


def _resized(values: NDArray[np.float32], edges: tuple[int, int], way: str) -> NDArray[np.float32]:
    if values.shape == edges[::-1]:
        return values
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize(edges, RESAMPLING[way]))
