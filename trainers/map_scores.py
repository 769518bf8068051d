"""Metrics of maps that need no pass of a network, by name: what a split is scored by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics import (
    Complexity,
    EnergyPointingGame,
    Figure,
    ImageTerms,
    Localization,
    MapStatistics,
    MaskLocalization,
    MaskPointingGame,
    OverlapLocalization,
    PointingGame,
    PxAP,
    RelevanceMassAccuracy,
    RelevanceRankAccuracy,
    Sparseness,
    declared,
)
from learned_saliency.ops import Activation

_TOLERANCE = 15  # pixels, Zhang et al.


class Observed(NamedTuple):
    """A batch with the maps of one method; missing ground truth is None.

    Attributes:
        saliency: Maps (B, H, W) in [0, 1].
        logits: Class scores (B, C).
        labels: True classes, int64 (B,), -1 where unknown.
        boxes: True boxes of each image, or None.
        masks: True masks (B, H, W), or None.
        seen: Whether each image is of a class that was trained, bool (B,), or None.
        activation: Function of the logits to probabilities.
    """

    saliency: Tensor
    logits: Tensor
    labels: Tensor
    boxes: Sequence[Tensor] | None
    masks: Tensor | None
    seen: Tensor | None
    activation: Activation = Activation.SOFTMAX

    def among(self, members: Tensor) -> Observed:
        """Select the images of a group, bool (B,)."""
        boxes = [b for b, member in zip(self.boxes, members, strict=True) if member]
        masks = None if self.masks is None else self.masks[members]
        rows = (part[members] for part in (self.saliency, self.logits, self.labels))
        return Observed(*rows, boxes, masks, self.seen[members], self.activation)


class Score(NamedTuple):
    """Definition of a metric of a split.

    Attributes:
        metric: The metric as it is before any image, of which each use is a copy.
        observe: Function of a batch to the arguments of the metric's ``update``.
        group: Group of images that are counted alone, whose classes are ``"seen"`` or ``"unseen"``
            in training, where training was restricted to some classes; empty for all images.
        validated: Whether validation counts the metric, too, and not tests alone.
    """

    metric: Metric
    observe: Callable[[Observed], tuple[object, ...]]
    group: str = ""
    validated: bool = True

    @property
    def needs(self) -> frozenset[str]:
        """Ground truth without which the metric counts nothing."""
        return self.metric.needs | ({"seen"} if self.group else set())

    def name(self, figure: str) -> str:
        """Name a value of the metric in the results."""
        return f"{figure}_{self.group}" if self.group else figure

    def figures(self) -> dict[str, Figure]:
        """Declarations of its values by their names in the results, with all their needs."""
        return {
            self.name(name): figure._replace(needs=figure.needs | self.needs)
            for name, figure in declared(self.metric).items()
        }

    def update(self, metric: Metric, observed: Observed) -> dict[str, Tensor]:
        """Count a batch that has the needed ground truth.

        Returns:
            Each image's terms by their names in the results, float64 (B,), NaN where an image is
            not counted; nothing for a metric that is no mean over images, and for a group.
        """
        if not self.group:
            metric.update(*self.observe(observed))
            return dict(metric.terms) if isinstance(metric, ImageTerms) else {}
        members = observed.seen if self.group == "seen" else ~observed.seen
        if members.any():
            metric.update(*self.observe(observed.among(members)))
        return {}


def _classified_boxes(observed: Observed) -> tuple[object, ...]:
    classified = observed.logits, observed.labels, observed.activation
    return observed.saliency, observed.boxes, *classified


def _maps(observed: Observed) -> tuple[object, ...]:
    return (observed.saliency,)


def _boxes(observed: Observed) -> tuple[object, ...]:
    return observed.saliency, observed.boxes


def _masks(observed: Observed) -> tuple[object, ...]:
    return observed.saliency, observed.masks


_tested = partial(Score, validated=False)

SCORES: dict[str, Score] = {  # in the order of the results
    "boxes": Score(Localization(), _classified_boxes),
    "cut_at_mean": Score(MaskLocalization(), _classified_boxes),
    "cut_at_mean_seen": Score(MaskLocalization(), _classified_boxes, "seen"),
    "cut_at_mean_unseen": Score(MaskLocalization(), _classified_boxes, "unseen"),
    "overlap": _tested(OverlapLocalization(), _classified_boxes),
    "pointing": _tested(PointingGame(), _boxes),
    "pointing_near": _tested(PointingGame(_TOLERANCE), _boxes),
    "energy": _tested(EnergyPointingGame(), _boxes),
    "statistics": Score(MapStatistics(), _maps),
    "sparseness": _tested(Sparseness(), _maps),
    "complexity": _tested(Complexity(), _maps),
    "pixels": Score(PxAP(), _masks),
    "mask_pointing": _tested(MaskPointingGame(), _masks),
    "mask_pointing_near": _tested(MaskPointingGame(_TOLERANCE), _masks),
    "mass": _tested(RelevanceMassAccuracy(), _masks),
    "rank": _tested(RelevanceRankAccuracy(), _masks),
}
