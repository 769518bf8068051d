"""Placement of maps of the network's input in the original image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules import Size, placement


def to_original(
    saliency: NDArray[np.float32], width: int, height: int, center_crop: bool | int = False
) -> NDArray[np.float32]:
    """Bring a map of the network's input to its place in the original image.

    Args:
        saliency: Shape (h, w) in [0, 1].
        width: Width of the original in pixels.
        height: Height of the original in pixels.
        center_crop: Whether the input is the middle of the image, where the rest becomes 0; see
            `datamodules.read_resized`.

    Returns:
        float32 (height, width).
    """
    size = Size(*saliency.shape)
    (across, down), (left, top) = placement(width, height, size, center_crop)
    x0, x1 = _span(left, size.width, across, width)
    y0, y1 = _span(top, size.height, down, height)
    covered = _resized(saliency, x1 - x0, y1 - y0)
    if covered.shape == (height, width):
        return covered
    placed = np.zeros((height, width), np.float32)
    placed[y0:y1, x0:x1] = covered
    return placed


def _span(start: int, size: int, resized: int, original: int) -> tuple[int, int]:
    """Find begin and end (exclusive) in the original of a part of its resized edge, in pixels."""
    first = min(round(start * original / resized), original - 1)
    return first, max(first + 1, round((start + size) * original / resized))


def _resized(saliency: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Resize each edge by itself: bilinearly if it grows, averaging if it shrinks."""
    rows, columns = saliency.shape
    wide = cv2.resize(saliency, (width, rows), interpolation=_way(columns, width))
    return cv2.resize(wide, (width, height), interpolation=_way(rows, height))


def _way(before: int, after: int) -> int:
    return cv2.INTER_LINEAR if after >= before else cv2.INTER_AREA
