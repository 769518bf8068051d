"""Metrics of localization without a threshold to choose: OM, LE and F1 of the CASM paper."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from learned_saliency.metrics.boxes import check_boxes
from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_terms import ImageTerms
from learned_saliency.metrics.sorting import sort_rows
from learned_saliency.ops import Activation

_TINY = 1e-6  # the published evaluator's constant, in denominators and at the threshold's ends


def binarize(saliency: Tensor, alpha: float = 1.0) -> Tensor:
    """Cut each map so that the share of ones is ``alpha`` times its mean (Zolna et al., Sec. 3.3).

    The threshold is the k-th smallest of the N pixels, k = 1 + int((N - 1)(1 - alpha mean) + 0.5),
    kept between 1e-6 and 1 - 1e-6; pixels above it are ones. Pixels equal to the threshold are
    zeros, so a map with few different values gets fewer ones, and a constant map below 1 gets none.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        alpha: Factor on the mean, above 0; 1 in the paper. All pixels are ones at most.

    Returns:
        bool (B, H, W).

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1], or ``alpha`` is not above 0.
    """
    check_saliency(saliency)
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    flat = saliency.detach().flatten(1)
    share = (alpha * flat.double().mean(dim=1)).clamp(max=1)
    index = ((flat.shape[1] - 1) * (1 - share) + 0.5).long()
    threshold = sort_rows(flat).gather(1, index[:, None]).double()
    above = flat.double() > threshold.clamp(_TINY, 1 - _TINY)
    return above.view(saliency.shape)


def largest_component_boxes(binary: Tensor) -> Tensor:
    """Find the tightest box around the largest 4-connected part of each binary map.

    Args:
        binary: bool (B, H, W).

    Returns:
        Boxes x0 y0 x1 y1 in pixels, int64 (B, 4) on the device of ``binary``; x1 and y1 lie one
        pixel beyond the part. The box is 0 0 0 0 for a map without ones; where several parts are
        largest, the first in reading order counts.

    Raises:
        TypeError: If ``binary`` is not bool.
        ValueError: If ``binary`` is not (B, H, W).
    """
    if binary.dtype != torch.bool:
        raise TypeError(f"binary must be bool, got {binary.dtype}")
    if binary.ndim != 3:
        raise ValueError(f"binary must have shape (B, H, W), got {tuple(binary.shape)}")
    boxes = np.zeros((len(binary), 4), np.int64)
    for box, image in zip(boxes, binary.to("cpu", torch.uint8).numpy(), strict=True):
        parts = cv2.connectedComponentsWithStats(image, connectivity=4)[2][1:]
        if len(parts) > 0:
            left, top, width, height, _ = parts[parts[:, cv2.CC_STAT_AREA].argmax()]
            box[:] = left, top, left + width, top + height
    return torch.from_numpy(boxes).to(binary.device)


def overlap_with_boxes(saliency: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Compare maps with their images' true boxes (Zolna et al., Sec. 3.3).

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        boxes: True boxes x0 y0 x1 y1 per map, in pixels of the map, integers (n, 4).
            Boxes may reach outside the map; their area there counts as missed. x1 and y1 are
            edges: the pixels of column x1 are outside, as in the published evaluator. A box
            without area is never met.

    Returns:
        Two float64 (B,) in [0, 1], on the maps' device: the largest IoU of a true box with the box
        of the map's largest part, cut at its mean, and the largest continuous F1 of a true box;
        NaN for a map without true boxes.

    Raises:
        TypeError: If ``saliency`` is not floating or a tensor of ``boxes`` not of integers.
        ValueError: If ``saliency`` is no batch of maps in [0, 1], or ``boxes`` does not hold boxes
            of each map, with x0 <= x1 and y0 <= y1.
    """
    check_saliency(saliency)
    check_boxes(boxes, len(saliency))
    true, image = _stacked(boxes, saliency.device)
    values = saliency.detach().double()
    mass = _mass_inside(values, true, image)
    precision = mass / (values.sum(dim=(1, 2))[image] + _TINY)
    recall = mass / _area(true).double().clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall + _TINY)
    best = _largest(f1, image, boxes)
    return best_overlap(largest_component_boxes(binarize(saliency)), boxes), best


def best_overlap(proposed: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Compute the largest IoU of each proposed box with a true box of its image.

    Args:
        proposed: Boxes x0 y0 x1 y1, int64 (B, 4); x1 and y1 are edges, outside the box.
        boxes: True boxes per image, likewise, integers (n, 4).

    Returns:
        IoU in [0, 1], float64 (B,); 0 where one of the boxes has no area, NaN where an image has no
        true box.
    """
    true, image = _stacked(boxes, proposed.device)
    own = proposed[image]
    corners = [true[:, :2].maximum(own[:, :2]), true[:, 2:].minimum(own[:, 2:])]
    shared = _area(torch.cat(corners, dim=1)).double()
    iou = shared / (_area(own) + _area(true) - shared).clamp(min=1)
    return _largest(iou, image, boxes)


def right_classes(
    logits: Tensor, labels: Tensor, activation: Activation = Activation.SOFTMAX
) -> Tensor:
    """Tell which images are given their class.

    Args:
        logits: Class scores of any range, (B, C).
        labels: True classes, integers (B,), -1 where unknown.
        activation: Function of the logits to probabilities: of sigmoids a class is right where it
            is told present, see `ops.Activation.decides`.

    Returns:
        float64 (B,): 1 where the class is right, 0 where it is wrong, NaN where it is unknown.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if logits.ndim != 2 or logits.shape[:1] != labels.shape:
        raise ValueError(
            f"expected logits (B, C) and labels (B,), got {tuple(logits.shape)} and"
            f" {tuple(labels.shape)}"
        )
    right = activation.decides(logits, labels).double()
    return right.masked_fill(labels < 0, torch.nan)


class MaskLocalization(ImageTerms):
    """Localization as the CASM paper measures it (Zolna et al., Sec. 3.3 and 4).

    A map is cut at its mean intensity, its largest part gets a box, and the box is right if its IoU
    with a true box is above one half. ``compute`` gives float64 scalars:

    - ``le``: localization error, the fraction of images whose box is wrong;
    - ``om``: official metric, the fraction of images whose box or predicted class is wrong; only
      if logits and labels were given;
    - ``f1``: mean over images of the continuous map's F1 with the true box that suits it best.

    Lower is better for ``le`` and ``om``, higher for ``f1``. All are NaN before any image was seen.

    Note:
        Far edges of true boxes count as outside here, as in the published evaluator, while the
        WSOL benchmark's metrics count them as inside. Paper 000 (Opti-CAM) uses the names OM and
        LE for means of 1 - IoU and compares F1 with the union of boxes: see `OverlapLocalization`.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    figures: ClassVar[Mapping[str, Figure]] = {
        "le": Figure(False),
        "f1": Figure(True),
        "om": Figure(False, needs=frozenset({"labels"})),
    }

    def update(
        self,
        saliency: Tensor,
        boxes: Sequence[Tensor],
        logits: Tensor | None = None,
        labels: Tensor | None = None,
        activation: Activation = Activation.SOFTMAX,
    ) -> None:
        """Count a batch.

        Args:
            saliency: See `overlap_with_boxes`, as for ``boxes`` and the errors.
            boxes: True boxes of each map; a map without any is not counted.
            logits: Class scores of any range, (B, C), for ``om``; with ``labels`` or not at all.
            labels: True classes, integers (B,), -1 where unknown: such an image counts for ``le``
                and ``f1`` alone.
            activation: Function of the logits to probabilities, see `right_classes`.

        Raises:
            ValueError: Also if only one of ``logits`` and ``labels`` is given or their shapes do
                not fit.
        """
        if (logits is None) != (labels is None):
            raise ValueError("logits and labels must be given together or not at all")
        iou, f1 = overlap_with_boxes(saliency, boxes)
        wrong = (iou <= 0.5).double().masked_fill(iou.isnan(), torch.nan)
        wrong_or_confused = torch.full_like(wrong, torch.nan)
        if logits is not None and labels is not None:
            right = right_classes(logits, labels, activation).to(wrong.device)
            wrong_or_confused = 1 - (1 - wrong) * right
        self._count(wrong, f1, wrong_or_confused)


def _stacked(boxes: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Stack the boxes of all images, int64 (N, 4), with the image of each, int64 (N,)."""
    counts = torch.tensor([len(b) for b in boxes], device=device)
    image = torch.arange(len(boxes), device=device).repeat_interleave(counts)
    return torch.cat([b.to(device, torch.int64) for b in boxes]), image


def _largest(values: Tensor, image: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Find the largest value (N,) in [0, 1] of each image's boxes, (B,); NaN where it has none."""
    found = values.new_zeros(len(boxes)).scatter_reduce(0, image, values, "amax")
    none = torch.tensor([len(of_image) == 0 for of_image in boxes], device=found.device)
    return found.masked_fill(none, torch.nan)


def _area(boxes: Tensor) -> Tensor:
    """Count pixels in boxes (N, 4), far edges outside; 0 in boxes that end before they begin."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).unbind(dim=1)
    return width * height


def _mass_inside(values: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
    """Sum the maps (B, H, W) in boxes (N, 4), far edges outside, of the images ``image`` (N,)."""
    height, width = values.shape[1:]
    summed = torch.nn.functional.pad(values.cumsum(1).cumsum(2), (1, 0, 1, 0))
    x0, x1 = (boxes[:, i].clamp(0, width) for i in (0, 2))
    y0, y1 = (boxes[:, i].clamp(0, height) for i in (1, 3))
    rows = summed[image, y1] - summed[image, y0]  # (N, W + 1)
    inside = rows.gather(1, x1[:, None]) - rows.gather(1, x0[:, None])
    return inside[:, 0].clamp(min=0)
