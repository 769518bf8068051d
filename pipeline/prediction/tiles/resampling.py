"""Parts of enlarged maps, without the whole: the values are those of ``attribution.resize``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CUBIC = -0.75  # torch's and OpenCV's coefficient of bicubic interpolation


class Enlarged:
    """A map (h, w) as it is at ``height`` x ``width`` pixels, read in parts.

    Args:
        cells: The map, an array or a mapped file, float32 (h, w).
        height: Height in pixels, at least h.
        width: Width in pixels, at least w.
        interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``, with half-pixel centers.
    """

    def __init__(
        self, cells: NDArray[np.float32], height: int, width: int, interpolation: str
    ) -> None:
        self._cells = cells
        self._size = height, width
        self._taps = _TAPS[interpolation]

    def part(self, top: int, left: int, height: int, width: int) -> NDArray[np.float32]:
        """Compute the pixels of a part, float32 (height, width)."""
        if self._cells.shape == self._size:
            return np.array(self._cells[top : top + height, left : left + width])
        first, down = self._matrix(0, top, height)
        begin, across = self._matrix(1, left, width)
        cells = self._cells[first : first + down.shape[1], begin : begin + across.shape[1]]
        return down @ cells @ across.T

    def _matrix(self, axis: int, start: int, count: int) -> tuple[int, NDArray[np.float32]]:
        """Compute the first cell that is read, and the weights (pixels, cells) of each."""
        cells, pixels = self._cells.shape[axis], self._size[axis]
        indices, weights = self._taps(np.arange(start, start + count), cells / pixels)
        indices = indices.clip(0, cells - 1)
        first = int(indices.min())
        matrix = np.zeros((count, int(indices.max()) - first + 1))
        np.add.at(matrix, (np.arange(count)[:, None], indices - first), weights)
        return first, matrix.astype(np.float32)


def _nearest(pixels: NDArray[np.int64], ratio: float) -> tuple[NDArray, NDArray]:
    return np.floor(pixels * ratio).astype(np.int64)[:, None], np.ones((len(pixels), 1))


def _bilinear(pixels: NDArray[np.int64], ratio: float) -> tuple[NDArray, NDArray]:
    place = ((pixels + 0.5) * ratio - 0.5).clip(min=0)
    first = np.floor(place).astype(np.int64)
    share = place - first
    return np.stack([first, first + 1], 1), np.stack([1 - share, share], 1)


def _bicubic(pixels: NDArray[np.int64], ratio: float) -> tuple[NDArray, NDArray]:
    place = (pixels + 0.5) * ratio - 0.5
    first = np.floor(place).astype(np.int64)
    offsets = np.arange(-1, 3)
    distance = np.abs((place - first)[:, None] - offsets)
    a = _CUBIC
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return first[:, None] + offsets, np.where(distance <= 1, near, far)


_TAPS = {"nearest": _nearest, "bilinear": _bilinear, "bicubic": _bicubic}
