"""Masks of COCO's annotations: polygons, and runs of equal pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SCALE = 5  # subpixels along a side, in which COCO draws polygons
_LONGEST = 1 << 24  # subpixels of an outline, more than those of any drawn by hand
_FAR = 3  # sides of an image that a polygon may reach beyond it


def read_segmentation(found: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Turn a segmentation of COCO's format into a mask, with the pixels that COCO's own code gives.

    Args:
        found: A list of polygons ``[x0, y0, x1, y1, ...]``, whose union counts, or
            ``{"size": [h, w], "counts": ...}`` with a list of the lengths of runs or a text of
            them, packed. Runs go down the columns, one by one, and begin with background.
        height: Height of the image in pixels.
        width: Its width.

    Returns:
        bool (H, W).

    Raises:
        ValueError: If it is nothing of the kind, or of another size.
    """
    if isinstance(found, list):
        if not found:
            raise ValueError("it has no polygon")
        return np.logical_or.reduce([fill_polygon(points, height, width) for points in found])
    if not isinstance(found, Mapping) or "counts" not in found:
        raise ValueError("it is neither polygons nor runs")
    size = found.get("size")
    if size != [height, width]:
        raise ValueError(f"its size is {str(size)[:40]}, its image's [{height}, {width}]")
    counts = found["counts"]
    runs = unpack_runs(counts) if isinstance(counts, str) else counts
    return fill_runs(runs, height, width)


def unpack_runs(text: str) -> list[int]:
    """Unpack lengths of runs: 5 bits per character, from the third on as differences.

    Args:
        text: The packed runs, characters from ``0`` to ``o``.

    Raises:
        ValueError: If the text is damaged.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its packed runs are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its packed runs are cut off")
    return runs


def fill_runs(runs: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Fill a mask (H, W) from the lengths of runs down its columns, background first.

    Raises:
        ValueError: If the runs are no integers of 0 or more, or do not fill the mask.
    """
    whole = isinstance(runs, Sequence) and all(type(run) is int and run >= 0 for run in runs)
    if not whole or sum(runs) != height * width:
        raise ValueError(f"its runs do not fill {width}x{height} pixels")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def fill_polygon(points: Sequence[float], height: int, width: int) -> NDArray[np.bool_]:
    """Fill a polygon as COCO's ``rleFrPoly`` does.

    The outline is drawn in pixels a fifth as large. Where it passes the middle of a column it
    switches the pixels below, so that those with an odd number of passes above are inside.

    Args:
        points: x0, y0, x1, y1, ... of 3 points or more, in pixels.
        height: Height of the mask.
        width: Its width.

    Returns:
        bool (H, W).

    Raises:
        ValueError: If the points are no such list of numbers, or lie far out of the image.
    """
    numbers = isinstance(points, list) and all(type(value) in (int, float) for value in points)
    if not numbers or len(points) < 6 or len(points) % 2:
        raise ValueError("a polygon is no list of x and y of 3 points or more")
    limits = np.array([width, height], np.float64)
    most = max(width, height) * (1 + _FAR)
    if not all(abs(value) <= most for value in points):  # so also what is no number
        raise ValueError("a polygon lies far out of the image")
    corners = np.array(points, np.float64).reshape(-1, 2)
    if not ((corners >= -_FAR * limits) & (corners <= (1 + _FAR) * limits)).all():
        raise ValueError("a polygon lies far out of the image")
    outline = (_SCALE * corners + 0.5).astype(np.int64)
    u, v = _outline(np.concatenate([outline, outline[:1]]))
    moved = np.flatnonzero(u[1:] != u[:-1]) + 1
    columns = np.where(u[moved] < u[moved - 1], u[moved], u[moved] - 1)
    columns = (columns + 0.5) / _SCALE - 0.5
    middle = (columns == np.floor(columns)) & (columns >= 0) & (columns <= width - 1)
    rows = (np.minimum(v[moved], v[moved - 1]) + 0.5) / _SCALE - 0.5
    rows = np.ceil(np.clip(rows, 0, height))
    switches = (columns[middle] * height + rows[middle]).astype(np.int64)
    passes = np.bincount(switches, minlength=height * width + 1)[: height * width]
    return np.ascontiguousarray((np.cumsum(passes) % 2 == 1).reshape(width, height).T)


def _outline(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the pixels of an outline, in its order.

    Args:
        corners: Its corners, closed, int64 (K + 1, 2).

    Returns:
        x and y, int64 (M,) each.
    """
    begins, ends = corners[:-1], corners[1:]
    spans = np.abs(ends - begins)
    flat = spans[:, 0] >= spans[:, 1]  # as many pixels as columns, else as rows
    along = np.where(flat, 0, 1)
    lines = np.arange(len(begins))
    flipped = begins[lines, along] > ends[lines, along]
    starts = np.where(flipped[:, None], ends, begins)
    stops = np.where(flipped[:, None], begins, ends)
    length = spans.max(1)
    if length.sum() > _LONGEST:
        raise ValueError("the outline of a polygon is too long")
    across = (stops - starts)[lines, 1 - along]
    slopes = across / np.maximum(length, 1)
    line = np.repeat(lines, length + 1)
    offsets = np.concatenate([[0], np.cumsum(length + 1)[:-1]])
    steps = np.arange(len(line)) - offsets[line]
    steps = np.where(flipped[line], length[line] - steps, steps)
    first = starts[line, along[line]] + steps
    # toward 0, as a cast in C
    second = (starts[line, 1 - along[line]] + slopes[line] * steps + 0.5).astype(np.int64)
    return np.where(flat[line], first, second), np.where(flat[line], second, first)
