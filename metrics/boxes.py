"""Boxes that saliency maps propose and their overlap with true boxes, as in the WSOL benchmark."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.ops import level_boxes, level_ious

THRESHOLDS = np.arange(0, 1, 0.001)  # fractions of a map's maximum
IOU_THRESHOLDS = (0.3, 0.5, 0.7)


def boxes_from_saliency(saliency: Tensor, threshold: float) -> Tensor:
    """Put a box around the largest contour of each map at one threshold.

    The map is truncated to 8 bits as in ``best_ious``; the contour is that of ``MaxBoxAcc``.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        threshold: Fraction of each map's maximum above which a pixel counts as object, in [0, 1).

    Returns:
        Boxes x0 y0 x1 y1 in pixels, int64 (B, 4), on the maps' device. x1 and y1 are counted as
        inside the box, although they lie one pixel beyond the contour unless the image ends there.
        0 0 0 0 for a map of zeros.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1] or ``threshold`` is outside
            [0, 1).
    """
    check_saliency(saliency)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), got {threshold}")
    found = []
    for image in _quantize(saliency):
        level = np.array([int(threshold * int(image.max()))])
        found.append(next(level_boxes(image, level)).largest[0])
    return torch.from_numpy(np.stack(found)).to(saliency.device)


def largest_regions(saliency: Tensor, threshold: float) -> Tensor:
    """Find the pixels that the boxes of `boxes_from_saliency` are drawn around.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        threshold: Fraction of each map's maximum above which a pixel counts as object, in [0, 1).

    Returns:
        The 8-connected region of each map whose outer contour is the largest, holes left out, bool
        (B, H, W) on the CPU; of regions with the same box, the one of most pixels. Nothing for a
        map of zeros.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1] or ``threshold`` is outside
            [0, 1).
    """
    boxes = boxes_from_saliency(saliency, threshold).cpu().numpy()
    found = []
    for image, (x0, y0, x1, y1) in zip(_quantize(saliency), boxes, strict=True):
        above = (image > int(threshold * int(image.max()))).view(np.uint8)
        labels, stats = cv2.connectedComponentsWithStats(above, connectivity=8)[1:3]
        left, top, width, height, pixels = stats[1:].T
        right = np.minimum(left + width, image.shape[1] - 1)
        bottom = np.minimum(top + height, image.shape[0] - 1)
        same = (left == x0) & (top == y0) & (right == x1) & (bottom == y1)
        place = 1 + int(np.argmax(same * pixels)) if same.any() else -1
        found.append(labels == place)
    return torch.from_numpy(np.stack(found))


def best_ious(saliency: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Compute each map's best overlap of proposed and true boxes at each of the 1000 thresholds.

    The benchmark's protocol (Choe et al., CVPR 2020): a map becomes 8-bit by truncating 255 times
    its value in float64, and is cut at ``> int(t * max)`` for t = 0, 0.001, ..., 0.999 of its
    8-bit maximum; see ``ops.contours.level_boxes`` for the boxes of the binary map and
    ``ops.level_ious`` for how they are found. Images are spread over ``torch.get_num_threads()``
    threads.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        boxes: True boxes x0 y0 x1 y1 per map, in pixels of the map, integers (n, 4).

    Returns:
        Intersection over union in [0, 1], float64 (B, 2, 1000) on the CPU: the best of all true
        boxes with the box of the largest contour, ``[:, 0]``, and with the boxes of all contours,
        ``[:, 1]``; NaN for a map without true boxes.

    Raises:
        TypeError: If ``saliency`` is not floating or a tensor of ``boxes`` not of integers.
        ValueError: If ``saliency`` is no batch of maps in [0, 1], or ``boxes`` does not hold
            boxes of each map, with x0 <= x1 and y0 <= y1.
    """
    check_saliency(saliency)
    check_boxes(boxes, len(saliency))
    truth = [image_boxes.detach().cpu().numpy().astype(np.int64) for image_boxes in boxes]
    workers = min(len(truth), torch.get_num_threads())
    if workers == 1:
        found = list(map(_best_ious, _quantize(saliency), truth))
    else:
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(_best_ious, _quantize(saliency), truth))
    return torch.from_numpy(np.stack(found))


def check_boxes(boxes: Sequence[Tensor], batch_size: int | None = None) -> None:
    """Refuse boxes that are not a list of each image's true boxes.

    Args:
        boxes: Integer tensor (n, 4) of x0 y0 x1 y1 per image; n is 0 for an image whose object
            nobody has boxed.
        batch_size: Number of images to expect, or None to take any.

    Raises:
        TypeError: If a tensor does not hold integers.
        ValueError: If there are not ``batch_size`` tensors, or one has not four columns or a
            box with x1 < x0 or y1 < y0.
    """
    if batch_size is not None and len(boxes) != batch_size:
        raise ValueError(f"expected boxes of {batch_size} images, got {len(boxes)}")
    for index, image_boxes in enumerate(boxes):
        if image_boxes.is_floating_point() or image_boxes.dtype == torch.bool:
            raise TypeError(f"boxes of image {index} must be integers, got {image_boxes.dtype}")
        if image_boxes.ndim != 2 or image_boxes.shape[1] != 4:
            raise ValueError(
                f"boxes of image {index} must have shape (n, 4), got {tuple(image_boxes.shape)}"
            )
        if (image_boxes[:, 2:] < image_boxes[:, :2]).any():
            raise ValueError(f"image {index} has a box that ends before it begins: {image_boxes}")


def _quantize(saliency: Tensor) -> np.ndarray:
    """Truncate maps (B, H, W) to 8 bits, in float64 as published: float32 may round 255 s up."""
    return (saliency.detach().double() * 255).to(torch.uint8).cpu().numpy()


def _best_ious(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute ``best_ious``, float64 (2, 1000), of an 8-bit map (H, W) and true boxes (n, 4)."""
    if not len(truth):
        return np.full((2, len(THRESHOLDS)), np.nan)
    levels = (THRESHOLDS * image.max()).astype(np.int64)
    return level_ious(image, truth)[:, levels]
