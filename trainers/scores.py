"""Metrics of one split for several methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, SumMetric

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import (
    Figure,
    Localization,
    LocalizationFloors,
    MapStatistics,
    MaskLocalization,
    PrecisionRecall,
    PxAP,
    declared,
)
from learned_saliency.trainers.zerobox import ZEROBOX_FIGURES

#: A value that is kept as the threshold of boxes and tells nothing about how good a map is.
BOX_THRESHOLD = "best_threshold"

_SOURCES = {"boxes": "boxes", "masks": "mask", "seen": "seen"}  # keys of a batch by the need
_LABELS = "labels"  # the need of the classes, which single images may lack


class _Observed(NamedTuple):
    """A batch with the maps of one method; missing ground truth is None.

    Attributes:
        saliency: Maps (B, H, W) in [0, 1].
        logits: Class scores (B, C).
        labels: True classes, int64 (B,), -1 where unknown.
        boxes: True boxes of each image, or None.
        masks: True masks (B, H, W), or None.
        seen: Whether each image is of a class that was trained, bool (B,), or None.
    """

    saliency: Tensor
    logits: Tensor
    labels: Tensor
    boxes: Sequence[Tensor] | None
    masks: Tensor | None
    seen: Tensor | None

    def among(self, members: Tensor) -> _Observed:
        """Select the images of a group, bool (B,)."""
        boxes = [b for b, member in zip(self.boxes, members, strict=True) if member]
        masks = None if self.masks is None else self.masks[members]
        rows = (part[members] for part in (self.saliency, self.logits, self.labels))
        return _Observed(*rows, boxes, masks, self.seen[members])


class _Score(NamedTuple):
    """A metric of a split.

    Attributes:
        metric: Class of the metric.
        observe: Function of a batch to the arguments of the metric's ``update``.
        group: Group of images that are counted alone, whose classes are ``"seen"`` or ``"unseen"``
            in training, where training was restricted to some classes; empty for all images.
    """

    metric: type[Metric]
    observe: Callable[[_Observed], tuple[object, ...]]
    group: str = ""

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

    def update(self, metric: Metric, observed: _Observed) -> None:
        """Count a batch that has the needed ground truth."""
        if self.group:
            members = observed.seen if self.group == "seen" else ~observed.seen
            if not members.any():
                return
            observed = observed.among(members)
        metric.update(*self.observe(observed))


def _classified_boxes(observed: _Observed) -> tuple[object, ...]:
    return observed.saliency, observed.boxes, observed.logits, observed.labels


_SCORES: dict[str, _Score] = {  # in the order of the results
    "boxes": _Score(Localization, _classified_boxes),
    "cut_at_mean": _Score(MaskLocalization, _classified_boxes),
    "cut_at_mean_seen": _Score(MaskLocalization, _classified_boxes, "seen"),
    "cut_at_mean_unseen": _Score(MaskLocalization, _classified_boxes, "unseen"),
    "statistics": _Score(MapStatistics, lambda observed: (observed.saliency,)),
    "pixels": _Score(PxAP, lambda observed: (observed.saliency, observed.masks)),
}
_ACCURACY = {
    "accuracy": Figure(True, progress=True, needs=frozenset({_LABELS})),
    "top5_accuracy": Figure(True, headline=False, needs=frozenset({_LABELS})),
}

#: Declarations of a split's values by name, each with the ground truth that it needs.
SPLIT_FIGURES: dict[str, Figure] = {
    name: figure for score in _SCORES.values() for name, figure in score.figures().items()
} | _ACCURACY

#: Values of the native map that validation logs as ``val/native/NAME``. A checkpoint may be chosen
#: by a value whose direction is known (``higher_is_better``) if `val` has what it ``needs``. The
#: criteria that need no box are computed and logged where they were asked for.
MONITORS: dict[str, Figure] = {
    name: figure for name, figure in SPLIT_FIGURES.items() if name != BOX_THRESHOLD
} | ZEROBOX_FIGURES


class SplitScores(nn.Module):
    """Counter of all metrics that are reported for a split.

    For each method it counts the metrics whose ground truth the images have: boxes (metrics of maps
    cut at the mean also apart for images of seen and of unseen classes, where the batches tell
    them), masks, or none; and the accuracy of the classifier that all methods explain on the images
    whose class is known. What needs the class is absent where no image has one.

    Args:
        methods: Names of the methods.
        floors: Whether to count the metrics of maps made without looking at the image, too.
    """

    def __init__(self, methods: Sequence[str], floors: bool = False) -> None:
        super().__init__()
        self.scores = nn.ModuleDict(
            {
                name: nn.ModuleDict({key: score.metric() for key, score in _SCORES.items()})
                for name in methods
            }
        )
        self.accuracy = nn.ModuleDict({name: MeanMetric() for name in _ACCURACY})
        self.floors = LocalizationFloors() if floors else None
        # Counted over all processes: a process without a batch must not stay behind.
        self.available = nn.ModuleDict({need: SumMetric() for need in (*_SOURCES, _LABELS)})

    def update(self, maps: Mapping[str, Tensor], logits: Tensor, batch: WSOLBatch) -> None:
        """Count a batch.

        Args:
            maps: Maps (B, H, W) in [0, 1] by method.
            logits: Class scores of shape (B, C).
            batch: The labels, and boxes and masks where the split has them.
        """
        labels = batch["label"]
        known = labels >= 0
        truth = {need: batch.get(key) for need, key in _SOURCES.items()}
        present = {need for need, values in truth.items() if values is not None}
        present |= {_LABELS} if known.any() else set()
        for need, count in self.available.items():
            count.update(len(labels) if need in present else 0)
        for name, saliency in maps.items():
            observed = _Observed(saliency, logits, labels, **truth)
            for key, score in _SCORES.items():
                if score.needs <= present:
                    score.update(self.scores[name][key], observed)
        if self.floors is not None and present & {"boxes", "masks"}:
            size = tuple(batch["image"].shape[-2:])
            self.floors.update(truth["boxes"], image_size=size, masks=truth["masks"])
        if _LABELS not in present:
            return
        hits = (logits.topk(min(5, logits.shape[1])).indices == labels[:, None])[known]
        self.accuracy["accuracy"].update(hits[:, 0].float())
        self.accuracy["top5_accuracy"].update(hits.any(dim=1).float())

    def compute(self) -> dict[str, dict[str, float]]:
        """Compute the metrics by method, as fractions over all processes.

        The floors stand beside the methods as ``full_image`` and ``centered_box``.
        """
        present = self._present()
        accuracy = {}
        if _LABELS in present:
            accuracy = _floats({name: metric.compute() for name, metric in self.accuracy.items()})
        results = {}
        for method, metrics in self.scores.items():
            results[method] = {}
            for key, score in _SCORES.items():
                if score.needs <= present:
                    found = _named(metrics[key].compute(), score)
                    results[method] |= _floats(found)
            results[method] |= accuracy
        if self.floors is not None and present & {"boxes", "masks"}:
            results |= {name: _floats(v) for name, v in self.floors.compute().items()}
        return results

    def curves(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, PrecisionRecall]]:
        """Compute box accuracy against threshold, and precision against recall, by method.

        Every process must call it. A kind of curve without ground truth in the split is empty.
        """
        boxes, pixels = {}, {}
        present = self._present()
        if "boxes" in present:
            boxes = {name: metrics["boxes"].curves() for name, metrics in self.scores.items()}
        if "masks" in present:
            pixels = {name: metrics["pixels"].curve() for name, metrics in self.scores.items()}
        return boxes, pixels

    def _present(self) -> set[str]:
        """Ground truth that some image of some process had."""
        return {need for need, count in self.available.items() if count.compute()}

    def reset(self) -> None:
        """Reset all counts."""
        for metric in self.modules():
            if isinstance(metric, Metric):
                metric.reset()


def _named(value: Tensor | Mapping[str, Tensor], score: _Score) -> dict[str, Tensor]:
    """Name the values that ``compute`` gave as the results do."""
    if not isinstance(value, Mapping):
        (name,) = score.metric.figures
        value = {name: value}
    return {score.name(name): figure for name, figure in value.items()}


def _floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
