"""Overlap of boxes, and of the boxes of all contours of a map with true boxes."""

import numpy as np

from learned_saliency.ops.backends.compiling import compiled_loops
from learned_saliency.ops.backends.component_trees import tree_ious
from learned_saliency.ops.contours import level_boxes


def box_iou(proposed: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the IoU of boxes whose far edges are inside: widths are x1 - x0 + 1.

    Args:
        proposed: Integer boxes x0 y0 x1 y1 of shape (..., 4).
        truth: Integer boxes of a shape (..., 4) that broadcasts with ``proposed``.

    Returns:
        IoU in [0, 1], float64, of the broadcast shape without the last axis.
    """
    x0, y0, x1, y1 = np.moveaxis(proposed, -1, 0)
    true_x0, true_y0, true_x1, true_y1 = np.moveaxis(truth, -1, 0)
    width = np.minimum(x1, true_x1) - np.maximum(x0, true_x0) + 1
    height = np.minimum(y1, true_y1) - np.maximum(y0, true_y0) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (x1 - x0 + 1) * (y1 - y0 + 1)
    true_areas = (true_x1 - true_x0 + 1) * (true_y1 - true_y0 + 1)
    return shared / (areas + true_areas - shared)


def level_ious(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the best IoU of true boxes with the contours' boxes at each level of a map.

    See `level_boxes` for the boxes. Compiled loops find them on component trees, once for all
    levels; without numba each level's contours are traced. Both give the same to the last bit.

    Args:
        image: 8-bit map of shape (H, W), uint8, with the maximum M.
        truth: True boxes x0 y0 x1 y1, far edges inside, int64 (n, 4), n >= 1.

    Returns:
        Best IoU with the box of the largest contour of ``image > level``, and with the boxes of all
        its contours, float64 (2, M) for the levels 0 to M - 1; (2, 1) for a map of zeros.
    """
    loops = compiled_loops("component_trees")
    if loops is None or not image.any():
        return _traced_ious(image, truth)
    largest, every = tree_ious(loops, image, truth)
    return np.stack([box_iou(largest[:, None], truth).max(1), every])


def _traced_ious(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute `level_ious` from the contours at those levels whose level sets differ."""
    present = np.bincount(image.ravel(), minlength=256) > 0
    # A level that no pixel has cuts like the next one below that some pixel has.
    below = np.maximum.accumulate(np.where(present, np.arange(256), -1))
    levels, places = np.unique(below[: max(image.max(), 1)], return_inverse=True)
    best = []
    for part in level_boxes(image, levels):
        largest = box_iou(part.largest[:, None], truth).max(1)
        every = box_iou(part.boxes[:, None], truth).max(1)
        best.append(np.stack([largest, np.maximum.reduceat(every, part.starts)]))
    return np.concatenate(best, axis=1)[:, places]
