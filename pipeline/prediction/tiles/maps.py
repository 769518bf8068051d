"""The map of a large image, from what was joined of its tiles to files and boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from learned_saliency.attribution import PostHocMethod
from learned_saliency.pipeline.prediction.tiles.components import Region, Regions
from learned_saliency.pipeline.prediction.tiles.pyramid import TILE
from learned_saliency.pipeline.prediction.tiles.resampling import Enlarged

_FLAT = 1e-6  # range of a map that counts as constant, see `trainers.is_flat`


class LargeMap:
    """A saliency map (H, W) in [0, 1] that is computed in parts.

    It is scaled once, by the extremes of the whole map.

    Args:
        cells: The raw map, (h, w).
        covered: Height and width in pixels of the image that the raw map lies on; at least H, W.
        height: Height H.
        width: Width W.
        source: Method that resizes and normalizes; None for probabilities, which stay as they are.

    Raises:
        ValueError: If the map is not finite.

    Attributes:
        maximum: Largest value.
        flat: Whether the map is constant, so that nothing stands out in it.
    """

    def __init__(
        self,
        cells: NDArray[np.float32],
        covered: tuple[int, int],
        height: int,
        width: int,
        source: PostHocMethod | None,
    ) -> None:
        interpolation = "bilinear" if source is None else source.interpolation
        self._raw = Enlarged(cells, *covered, interpolation)
        self._source = source
        self.height, self.width = height, width
        low, high = np.inf, -np.inf
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                size = min(TILE, height - top), min(TILE, width - left)
                part = self._raw.part(top, left, *size)
                low, high = np.minimum(low, part.min()), np.maximum(high, part.max())  # keep NaN
        if not np.isfinite(low + high):
            raise ValueError("a saliency map has NaN or infinite values; is the image finite?")
        self._extremes = torch.tensor([[low]]), torch.tensor([[high]])
        ends = self._scaled(np.array([[low, high]], np.float32))
        self.maximum = float(ends.max())
        self.flat = float(np.ptp(ends)) <= _FLAT

    def part(self, top: int, left: int, height: int, width: int) -> NDArray[np.float32]:
        """Compute a part, float32 (height, width) in [0, 1]."""
        return self._scaled(self._raw.part(top, left, height, width))

    def _scaled(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._source is None:
            return raw.clip(0, 1)
        scaled = self._source.to_unit(torch.from_numpy(raw), *self._extremes)
        return scaled.clamp(0, 1).float().numpy()


class Boxed:
    """A map's parts, encoded for a file; on the way boxes are put around what stands out.

    Args:
        found: The map.
        threshold: Fraction of the map's maximum above which a pixel belongs to an object, [0, 1).
        dtype: uint8 and uint16, whose largest value is 1; or float16.
    """

    def __init__(self, found: LargeMap, threshold: float, dtype: str) -> None:
        self._found = found
        self._level = int(threshold * int(255 * found.maximum))
        self._dtype = np.dtype(dtype)
        self._regions = Regions(found.height, found.width)
        self._band = np.zeros((0, found.width), np.uint8)

    def block(self, top: int, left: int, height: int, width: int) -> NDArray:
        """Compute a part; parts come in bands from top to bottom, each from left to right."""
        part = self._found.part(top, left, height, width)
        if left == 0:
            self._band = np.zeros((height, self._found.width), np.uint8)
        self._band[:, left : left + width] = (255 * part.astype(np.float64)).astype(np.uint8)
        if left + width == self._found.width:
            self._regions.add((self._band > self._level).view(np.uint8))
        if self._dtype == np.float16:
            return part.astype(np.float16)
        return np.rint(part * np.iinfo(self._dtype).max).astype(self._dtype)

    def boxes(self, most: int) -> FoundBoxes:
        """Return the boxes after all parts; none of a flat map."""
        if self._found.flat:
            return FoundBoxes([], 0)
        return FoundBoxes(self._regions.largest(most), self._regions.count)


class FoundBoxes(NamedTuple):
    """Regions that stand out.

    Attributes:
        regions: The largest regions.
        count: Number of all regions.
    """

    regions: list[Region]
    count: int
