"""Boxes of all contours of an 8-bit map at many levels, exactly as ``cv2.findContours`` gives."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

# Above this many contours per level, labeling two images (about 1 ms at 224 x 224) is cheaper than
# tracing the contours one by one (about 1.5 us each). Both ways give the same boxes.
_DENSE = 500
_BLOCK = 64  # levels that are worked on together: bounds the memory that a noisy map takes
_CANDIDATES = 64  # components whose contours are traced first in the search for the largest


class LevelBoxes(NamedTuple):
    """Boxes x0 y0 x1 y1 in pixels for consecutive levels of one map, x1 and y1 taken as inside.

    Attributes:
        largest: Box of the contour with the largest area at each of L levels, int64 (L, 4).
        boxes: Boxes of all contours, level after level, int64 (N, 4), N >= L.
        starts: Row of ``boxes`` at which each level begins, (L,).
    """

    largest: np.ndarray
    boxes: np.ndarray
    starts: np.ndarray


def level_boxes(image: np.ndarray, levels: np.ndarray) -> Iterator[LevelBoxes]:
    """Find the boxes of all contours of ``image > level`` for each level.

    To compare the boxes of all levels with true boxes, `level_ious` is faster.

    Contours are the borders of 8-connected regions *and of their holes* (RETR_TREE), a hole's
    border running over the pixels around it. A contour that spans columns x to x + w - 1 has
    x0 = x and x1 = min(x + w, W - 1), one pixel beyond itself except at the image border; rows
    likewise. The largest contour is the first in OpenCV's order among the contours of largest
    ``cv2.contourArea``. A map of zeros has no contour and gets the box 0 0 0 0.

    Args:
        image: 8-bit map of shape (H, W), uint8.
        levels: Ascending integers of shape (L,), each from -1 (every pixel is above it) to the
            image's maximum - 1 unless that maximum is zero.

    Yields:
        Boxes of the next few levels; all of them together cover all levels, in order.
    """
    if not image.any():
        zeros = np.zeros((len(levels), 4), np.int64)
        yield LevelBoxes(zeros, zeros, np.arange(len(levels)))
        return
    done, dense = 0, False
    while done < len(levels):
        search = _component_boxes if dense else _contour_boxes
        part = search(image, levels[done : done + _BLOCK])
        done += len(part.starts)
        dense = len(part.boxes) - part.starts[-1] > _DENSE
        yield part


def _level_sets(
    image: np.ndarray, levels: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Yield ``image > level`` as 0 and 1, cropped to its bounding box, and the crop's left, top."""
    columns = image.max(axis=0) > levels[:, None]  # (L, W)
    rows = image.max(axis=1) > levels[:, None]  # (L, H)
    left, right = columns.argmax(1), columns.shape[1] - columns[:, ::-1].argmax(1)
    top, bottom = rows.argmax(1), rows.shape[1] - rows[:, ::-1].argmax(1)
    cuts = np.stack([levels, left, right, top, bottom], axis=1).tolist()
    for level, x0, x1, y0, y1 in cuts:
        yield cv2.threshold(image[y0:y1, x0:x1], level, 1, cv2.THRESH_BINARY)[1], (x0, y0)


def _contour_boxes(image: np.ndarray, levels: np.ndarray) -> LevelBoxes:
    """Trace every contour; stop after the first level that has more than ``_DENSE``."""
    contours: list[np.ndarray] = []
    starts = []
    for binary, offset in _level_sets(image, levels):
        starts.append(len(contours))
        contours += _trace(binary, cv2.RETR_TREE, offset)
        if len(contours) - starts[-1] > _DENSE:
            break
    low, high, areas = _measure(contours)
    boxes = _boxes(low, high, image.shape)
    return LevelBoxes(boxes[_first_largest(areas, starts)], boxes, np.array(starts))


def _component_boxes(image: np.ndarray, levels: np.ndarray) -> LevelBoxes:
    """Label regions and holes instead; stop after the first level with no more than ``_DENSE``.

    An outer contour has the bounding box of its 8-connected region, a hole's contour that of a
    4-connected piece of background which the outside does not reach, one pixel wider on each side.
    """
    rects, largest, starts = [], [], [0]
    for binary, (left, top) in _level_sets(image, levels):
        labels, outer = cv2.connectedComponentsWithStats(binary, connectivity=8)[1:3]
        padded = cv2.copyMakeBorder(1 - binary, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
        pieces, holes = cv2.connectedComponentsWithStats(padded, connectivity=4)[1:3]
        holes[:, :2] -= 2  # one pixel of padding, one of growth
        holes[:, 2:4] += 2
        inner = np.arange(1, len(holes)) != pieces[0, 0]  # all but the outside
        found = np.concatenate([outer[1:, :4], holes[1:, :4][inner]])
        found[:, :2] += left, top
        rects.append(found)
        largest.append(found[_largest_component(labels, outer) - 1])
        starts.append(starts[-1] + len(found))
        if len(found) <= _DENSE:
            break
    rect, best = np.concatenate(rects), np.stack(largest)
    boxes = _boxes(rect[:, :2], rect[:, :2] + rect[:, 2:] - 1, image.shape)
    largest_boxes = _boxes(best[:, :2], best[:, :2] + best[:, 2:] - 1, image.shape)
    return LevelBoxes(largest_boxes, boxes, np.array(starts[:-1]))


def _largest_component(labels: np.ndarray, stats: np.ndarray) -> int:
    """Find the label of the region whose outer contour is the first of largest area.

    A contour encloses at most (w - 1) (h - 1), so only regions whose bound reaches the largest area
    found among the regions of highest bound need tracing. Holes and regions inside holes are
    smaller than the region around them, and leaving regions out does not change OpenCV's order of
    the others.
    """
    bounds = (stats[:, 2] - 1) * (stats[:, 3] - 1)
    bounds[0] = -1  # the background
    least = max(np.sort(bounds)[-_CANDIDATES:][0], 0)
    while True:  # twice at most
        contours = _trace((bounds >= least).view(np.uint8)[labels], cv2.RETR_EXTERNAL)
        areas = _measure(contours)[2]
        if areas.max() / 2 >= least:
            x, y = contours[_first_largest(areas, [0])[0]][0, 0]
            return int(labels[y, x])
        least = areas.max() / 2


def _trace(
    binary: np.ndarray, mode: int, offset: tuple[int, int] = (0, 0)
) -> tuple[np.ndarray, ...]:
    """Trace contours in OpenCV's order, each the int32 corners x y of its polygon, (P, 1, 2)."""
    return cv2.findContours(binary, mode, cv2.CHAIN_APPROX_SIMPLE, offset=offset)[0]


def _measure(contours: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure each contour's least and greatest x y, (N, 2), and twice its area, (N,)."""
    sizes = np.fromiter(map(len, contours), np.int64, len(contours))
    points = np.concatenate(contours)[:, 0].astype(np.int64)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = starts
    x, y = points.T
    areas = np.abs(np.add.reduceat(x * y[following] - x[following] * y, starts))  # shoelace formula
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    return low, high, areas


def _first_largest(areas: np.ndarray, starts: list[int]) -> np.ndarray:
    """Find the row of the first largest area in each segment of ``areas``."""
    count = len(areas)
    rank = areas * count + np.arange(count)[::-1]  # orders by area, then by first come
    return count - 1 - np.maximum.reduceat(rank, starts) % count


def _boxes(low: np.ndarray, high: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Compute the evaluator's boxes from the least and greatest x y of each contour."""
    limit = shape[1] - 1, shape[0] - 1
    return np.concatenate([low, np.minimum(high + 1, limit)], axis=1).astype(np.int64)
