"""Boxes around the regions of a map that is seen one band of rows after the other."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


class Region(NamedTuple):
    """An 8-connected region of pixels.

    Attributes:
        box: x0 y0 x1 y1 in pixels, x1 and y1 inside the box; one pixel beyond the region's last
            unless the image ends there, as ``metrics.boxes_from_saliency`` counts.
        pixels: Number of its pixels.
    """

    box: tuple[int, int, int, int]
    pixels: int


class Regions:
    """Regions of a binary image (H, W) that comes in bands, from top to bottom.

    Memory holds the last row and a few numbers for each region.

    Args:
        height: Height H of the image.
        width: Width W of the image.
    """

    def __init__(self, height: int, width: int) -> None:
        self._size = height, width
        self._row = 0
        self._last = np.zeros(width, np.int64)  # labels of the row above; 0 for background
        self._parents = [0]
        self._found = [[0, 0, 0, 0, 0]]  # x0 y0 x1 y1, exclusive, and pixels, by label

    def add(self, band: NDArray[np.uint8]) -> None:
        """Add the next rows, uint8 (rows, W), not 0 where a pixel belongs to a region."""
        _, labels, stats, _ = cv2.connectedComponentsWithStats(band, connectivity=8)
        offset = len(self._parents) - 1
        for left, top, width, height, pixels in stats[1:].tolist():
            self._parents.append(len(self._parents))
            top += self._row
            self._found.append([left, top, left + width, top + height, pixels])
        first = np.where(labels[0] > 0, labels[0].astype(np.int64) + offset, 0)
        for above, below in self._neighbors(first):
            self._join(above, below)
        self._last = np.where(labels[-1] > 0, labels[-1].astype(np.int64) + offset, 0)
        self._row += len(band)

    def largest(self, most: int) -> list[Region]:
        """List the regions of most pixels, the largest first; equal ones from top to bottom."""
        height, width = self._size
        roots = [k for k in range(1, len(self._parents)) if self._parents[k] == k]
        roots.sort(key=lambda k: (-self._found[k][4], self._found[k][1], self._found[k][0]))
        found = []
        for k in roots[:most]:
            x0, y0, x1, y1, pixels = self._found[k]
            found.append(Region((x0, y0, min(x1, width - 1), min(y1, height - 1)), pixels))
        return found

    @property
    def count(self) -> int:
        """Number of regions so far."""
        return sum(self._parents[k] == k for k in range(1, len(self._parents)))

    def _neighbors(self, first: NDArray[np.int64]) -> list[list[int]]:
        """List the pairs of labels that touch between the last row and the one below it."""
        above = np.pad(self._last, 1)
        shifted = [above[shift : shift + len(first)] for shift in range(3)]
        pairs = np.concatenate([np.stack([row, first], 1) for row in shifted])
        return np.unique(pairs[(pairs > 0).all(1)], axis=0).tolist()

    def _join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        if one == other:
            return
        one, other = min(one, other), max(one, other)
        self._parents[other] = one
        a, b = self._found[one], self._found[other]
        self._found[one] = [*map(min, a[:2], b[:2]), *map(max, a[2:4], b[2:4]), a[4] + b[4]]

    def _root(self, label: int) -> int:
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label
