"""Localization as the Opti-CAM paper measures it: OM, LE and pixel-wise F1 of paper 000, App. C."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency, constant_maps
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_terms import ImageTerms
from learned_saliency.metrics.mask_localization import (
    best_overlap,
    largest_component_boxes,
    right_classes,
)
from learned_saliency.metrics.truth import box_edges, box_union
from learned_saliency.ops import Activation


def boxes_above_mean(saliency: Tensor) -> Tensor:
    """Put a box around the largest part of each map's pixels above its mean (B_p of paper 000).

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].

    Returns:
        Boxes x0 y0 x1 y1 in pixels, int64 (B, 4); x1 and y1 lie one pixel beyond the part. Parts
        are 4-connected; where several are largest, the first in reading order counts. The box of a
        constant map, in which no pixel is above the mean, is 0 0 0 0.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1].
    """
    check_saliency(saliency)
    values = saliency.detach().double()
    above = values > values.mean(dim=(1, 2), keepdim=True)
    # the mean of equal values may be rounded below them
    return largest_component_boxes(above & ~constant_maps(values)[:, None, None])


def pixelwise_f1(saliency: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Compute the F1 of each map with the union U of its true boxes (paper 000, Eq. A3, A4).

    P = sum_{p in U} S_p / sum_p S_p, R = sum_{p in U} S_p / area(U), F1 = 2 P R / (P + R).

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        boxes: True boxes of each map, see `box_union`.

    Returns:
        float64 (B,) in [0, 1]; 0 for a constant map, and where no mass or no box is.

    Raises:
        TypeError: If ``saliency`` is not floating or a tensor of ``boxes`` not of integers.
        ValueError: If ``saliency`` is no batch of maps in [0, 1] or ``boxes`` do not fit it.
    """
    check_saliency(saliency)
    region, values = box_union(boxes, saliency), saliency.detach().double()
    inside, mass = (part.sum(dim=(1, 2)) for part in (values * region, values))
    area = region.flatten(1).sum(1)
    # 2 P R / (P + R) with P = inside / mass and R = inside / area
    f1 = 2 * inside / (mass + area)
    return f1.masked_fill((mass == 0) | constant_maps(values), 0.0)


class OverlapLocalization(ImageTerms):
    """Overlap of maps with true boxes as the Opti-CAM paper measures it (paper 000, App. C).

    A map is cut at its mean and its largest part gets a box, B_p. ``compute`` gives float64
    scalars:

    - ``le_iou``: localization error, Eq. A2: mean of 1 - max_B IoU(B, B_p) over true boxes B;
    - ``om_iou``: official metric, Eq. A1: the same with an IoU of 0 where the predicted class is
      wrong; only if logits and labels were given;
    - ``f1_union``: pixel-wise F1 of the uncut map with the union of the boxes, see `pixelwise_f1`.

    Lower is better for ``le_iou`` and ``om_iou``, higher for ``f1_union``. Pixels equal to the mean
    are not above it. A constant map says nothing: it counts as a map of zeros, whose ``le_iou`` and
    ``om_iou`` are 1 and whose ``f1_union`` is 0.

    Note:
        CASM's ``le`` and ``om`` are the fractions of images with an IoU of at most one half, of a
        box at another threshold, and its ``f1`` takes the box that suits best: `MaskLocalization`.
        By Eq. A3 and A4 a map of ones would have an F1 of 2 u / (1 + u) with u the boxes' share of
        the image: paper 000 has 57.7 for Fake-CAM, ones but for one pixel, the best of its table.
        The paper does not say how the pixels of a part are connected: here by 4 neighbors, as for
        CASM. Far edges of true boxes lie inside, as in the benchmark's metrics, and what reaches
        beyond the map is cut off.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    figures: ClassVar[Mapping[str, Figure]] = {
        "le_iou": Figure(False, headline=False),
        "f1_union": Figure(True, headline=False),
        "om_iou": Figure(False, headline=False, needs=frozenset({"labels"})),
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
            saliency: Maps of shape (B, H, W) in [0, 1].
            boxes: True boxes of each map; see `box_union`, as for the errors. A map without any is
                not counted.
            logits: Class scores of any range, (B, C), for ``om_iou``; with ``labels`` or not at
                all.
            labels: True classes, integers (B,), -1 where unknown: such an image does not count for
                ``om_iou``.
            activation: Function of the logits to probabilities, see `right_classes`.

        Raises:
            ValueError: Also if only one of ``logits`` and ``labels`` is given or their shapes do
                not fit.
        """
        if (logits is None) != (labels is None):
            raise ValueError("logits and labels must be given together or not at all")
        f1 = pixelwise_f1(saliency, boxes)
        iou = best_overlap(boxes_above_mean(saliency), box_edges(boxes, saliency))
        official = torch.full_like(iou, torch.nan)
        if logits is not None and labels is not None:
            official = 1 - iou * right_classes(logits, labels, activation).to(iou.device)
        self._count(1 - iou, f1.masked_fill(iou.isnan(), torch.nan), official)
