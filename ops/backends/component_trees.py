"""Overlap of the boxes of all contours with true boxes, from the component trees of a map."""

import functools
from types import ModuleType

import cv2
import numpy as np


def tree_ious(
    loops: ModuleType, image: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the box of the largest contour and the best IoU of any contour of ``image > level``.

    The time is nearly linear in the pixels, whatever the map. A contour is the outer border of an
    8-connected region, a node of the max-tree, or the border of a hole: a 4-connected piece of the
    rest that does not reach the image's border, a node of the min-tree, whose box is one pixel
    wider on each side.

    The largest contour is an outer one of the map with its holes filled up to the level at which
    the outside floods them: a hole, and all that lies in one, is inside a contour that OpenCV lists
    before it. Twice the area of such a region is a sum over squares of four neighboring pixels, 2
    where all four belong to the region and 1 where three do. Among equal areas OpenCV's order
    decides, which is that of the regions' first pixels.

    Args:
        loops: ``ops.backends.compiled.component_trees``.
        image: 8-bit map of shape (H, W), uint8, with M > 0 as its maximum.
        truth: True boxes x0 y0 x1 y1, far edges inside, int64 (n, 4).

    Returns:
        For the levels 0 to M - 1 the box of the largest contour, as in `LevelBoxes`, int64 (M, 4),
        and the best IoU of any contour, float64 (M,).
    """
    height, width = image.shape
    levels, shift = int(image.max()), (width + 1).bit_length()
    pixels = np.empty(image.size, np.int32), np.empty(257, np.int64)
    loops.sort(np.ascontiguousarray(image), shift, *pixels)
    areas = (truth[:, 2:] - truth[:, :2] + 1).prod(axis=1)
    given = image.shape, np.concatenate([truth, areas[:, None]], axis=1)
    memory = _memory(height, width, shift, loops.COLUMNS)
    filled = np.empty(image.size, np.int32), np.zeros(257, np.int64)
    every, largest = results = np.zeros((8, 256)), np.full((8, 256, 5), np.iinfo(np.int64).min)
    loops.grow(*pixels, shift, 1, True, 0, *given, memory, filled, results)
    direction = _direction()
    whole = np.array_equal(filled[1], pixels[1])  # without holes, so that one pass serves both
    memory[0][:] = 0
    loops.grow(*pixels, shift, 0, True, direction * whole, *given, memory, filled, results)
    if not whole:
        memory[0][:] = 0
        loops.grow(*filled, shift, 0, False, direction, *given, memory, filled, results)
    loops.spread(every, largest)
    boxes = largest[0, :levels, 1:]
    boxes[:, :2] -= 1  # positions begin at 1, and far edges lie one pixel beyond
    boxes[:, 2:] = np.minimum(boxes[:, 2:], [width - 1, height - 1])
    return boxes, every[0, :levels]


def _memory(height: int, width: int, shift: int, columns: int) -> tuple[np.ndarray, ...]:
    """Allocate what ``grow`` works in, with the outside reached around the map."""
    seen = np.zeros((height + 2, 1 << shift), np.uint8)
    seen[[0, -1]] = 7
    seen[:, 1] |= 1
    seen[:, width] |= 4
    nodes = height * width // 2 + 2  # no two begin side by side
    return (
        seen.reshape(-1),
        np.zeros(seen.size, np.int32),
        np.empty(seen.size, np.int32),
        np.empty((nodes, columns), np.int32),
        np.zeros(nodes, np.int32),
    )


@functools.cache
def _direction() -> int:
    """Find out whether OpenCV lists the contour that begins last in reading order first, 1 or -1.

    It has always done so, and promises nothing.
    """
    dots = np.array([[1], [0], [1]], np.uint8)
    first = cv2.findContours(dots, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0][0]
    return 1 if first[0, 0, 1] == 2 else -1
