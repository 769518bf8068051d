"""Regions of images that contain the object with a promised probability."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from learned_saliency.metrics import region
from learned_saliency.pipeline.runs import Coverage


class PlacedRegion(NamedTuple):
    """Region in an image of H x W pixels.

    Attributes:
        mask: Pixels of the region, bool (H, W).
        box: Smallest box x0 y0 x1 y1 around the region, int64 (4,), x1 and y1 inside it; None for
            an empty region.
    """

    mask: NDArray[np.bool_]
    box: NDArray[np.int64] | None

    @property
    def area(self) -> float:
        """Share of the image, in [0, 1]."""
        return float(self.mask.mean())


def place_region(
    saliency: NDArray[np.float32], coverage: Coverage, width: int, height: int
) -> PlacedRegion:
    """Bring the region of a map to the size of its image.

    A pixel of the image belongs to the region where it touches a cell of the map that does: nothing
    of the calibrated region is lost.

    Args:
        saliency: The native map at the network's input size, (h, w) in [0, 1].
        coverage: The promise.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
    """
    cells = region(torch.from_numpy(saliency)[None], coverage.threshold)[0].numpy()
    if coverage.truth == "boxes" and cells.any():
        rows, columns = np.nonzero(cells)
        cells[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    mask = _stretched(_stretched(cells, height).T, width).T
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = None
    if len(rows):
        box = np.array([columns[0], rows[0], columns[-1], rows[-1]])
    return PlacedRegion(np.ascontiguousarray(mask), box)


def region_record(placed: PlacedRegion) -> dict[str, Any]:
    """Describe a region, ready for JSON."""
    box = None if placed.box is None else placed.box.tolist()
    return {"box": box, "area": round(placed.area, 6)}


def coverage_record(coverage: Coverage) -> dict[str, Any]:
    """Describe a promise, ready for JSON."""
    calibrated = {"split": "val", "images": coverage.images, "truth": coverage.truth}
    return {
        "level": coverage.level,
        "of": coverage.of,
        "region": "box" if coverage.truth == "boxes" else "pixels",
        "threshold": coverage.threshold,
        "calibrated_on": calibrated,
    }


def _stretched(cells: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Resize the first axis to ``length``: true where a part of a true cell falls."""
    count = len(cells)
    begin = np.arange(length) * count // length
    end = -(-(np.arange(length) + 1) * count // length)  # exclusive
    sums = np.concatenate([np.zeros_like(cells[:1], np.int32), cells.cumsum(0, dtype=np.int32)])
    return sums[end] > sums[begin]
