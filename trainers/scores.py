"""Metrics of one split for several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, SumMetric

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import (
    EXCLUSIVE,
    PRESENCE,
    VALUES,
    ClassAveragePrecision,
    Figure,
    ImageStates,
    LocalizationFloors,
    PrecisionRecall,
    ValueErrors,
    declared,
)
from learned_saliency.ops import Activation
from learned_saliency.trainers.map_scores import SCORES, Observed, Score
from learned_saliency.trainers.zerobox import ZEROBOX_FIGURES

#: A value that is kept as the threshold of boxes and tells nothing about how good a map is.
BOX_THRESHOLD = "best_threshold"

# keys of a batch by the need
_SOURCES = {"boxes": "boxes", "masks": "mask", "seen": "seen", PRESENCE: "labels", VALUES: "values"}
_LABELS = "labels"  # the need of the classes, which single images may lack


_ACCURACY = {
    "accuracy": Figure(True, progress=True, needs=frozenset({_LABELS, EXCLUSIVE})),
    "top5_accuracy": Figure(True, headline=False, needs=frozenset({_LABELS, EXCLUSIVE})),
}

#: Declarations of what is measured of the classifier alone, by name.
CLASSIFIER_FIGURES: dict[str, Figure] = {
    **_ACCURACY,
    **declared(ClassAveragePrecision),
    **declared(ValueErrors),
}

#: Declarations of the values of any split by name, each with the ground truth that it needs.
SPLIT_FIGURES: dict[str, Figure] = {
    name: figure
    for score in SCORES.values()
    if score.validated
    for name, figure in score.figures().items()
} | CLASSIFIER_FIGURES

#: Declarations of the values of maps by name, with those that tests alone have.
MAP_FIGURES: dict[str, Figure] = {
    name: figure for score in SCORES.values() for name, figure in score.figures().items()
} | CLASSIFIER_FIGURES

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
    them), masks, or none; and how well the classifier that all methods explain does on the images
    whose class is known: its accuracy or, of batches that tell all classes of an image, its average
    precision, for which each image counts once. What needs the class is absent where no image has
    one.

    Args:
        methods: Names of the methods.
        floors: Whether to count the metrics of maps made without looking at the image, too.
        tested: Whether to count the metrics that tests alone have, too.

    Attributes:
        image_states: Each image's states of the last ``update`` by method, then by the names of
            score and state with ``/`` between; of metrics that are no means over images.
    """

    def __init__(self, methods: Sequence[str], floors: bool = False, tested: bool = False) -> None:
        super().__init__()
        self.chosen = {key: score for key, score in SCORES.items() if tested or score.validated}
        self.scores = nn.ModuleDict(
            {
                name: nn.ModuleDict(
                    {key: score.metric.clone() for key, score in self.chosen.items()}
                )
                for name in methods
            }
        )
        self.accuracy = nn.ModuleDict({name: MeanMetric() for name in _ACCURACY})
        self.precision = ClassAveragePrecision()
        self.errors: ValueErrors | None = None
        self.floors = LocalizationFloors() if floors else None
        # Counted over all processes: a process without a batch must not stay behind.
        needs = (*_SOURCES, _LABELS, EXCLUSIVE)
        self.available = nn.ModuleDict({need: SumMetric() for need in needs})
        self.image_states: dict[str, dict[str, Tensor]] = {}

    def expect_values(self, count: int) -> None:
        """Count how well the scores tell ``count`` values of each image, instead of classes."""
        self.errors = ValueErrors(count)

    def update(
        self,
        maps: Mapping[str, Tensor],
        logits: Tensor,
        batch: WSOLBatch,
        activation: Activation = Activation.SOFTMAX,
    ) -> dict[str, dict[str, Tensor]]:
        """Count a batch.

        Args:
            maps: Maps (B, H, W) in [0, 1] by method.
            logits: Class scores of shape (B, C).
            batch: The labels, and boxes and masks where the split has them.
            activation: Function of the logits to probabilities.

        Returns:
            Each image's terms by method and metric, float64 (B,); NaN where an image does not
            count for the metric.
        """
        labels = batch["label"]
        known = labels >= 0
        truth = {need: batch.get(key) for need, key in _SOURCES.items()}
        present = {need for need, values in truth.items() if values is not None}
        present |= {_LABELS} if known.any() else set()
        present |= {EXCLUSIVE} if PRESENCE not in present else set()
        for need, count in self.available.items():
            count.update(len(labels) if need in present else 0)
        terms: dict[str, dict[str, Tensor]] = {name: {} for name in maps}
        counted = {key: score for key, score in self.chosen.items() if score.needs <= present}
        for name, saliency in maps.items():
            seen = (truth[need] for need in ("boxes", "masks", "seen"))
            observed = Observed(saliency, logits, labels, *seen, activation)
            for key, score in counted.items():
                terms[name] |= score.update(self.scores[name][key], observed)
        self.image_states = {name: self._states(name, counted) for name in maps}
        if self.floors is not None and present & {"boxes", "masks"}:
            size = tuple(batch["image"].shape[-2:])
            self.floors.update(truth["boxes"], image_size=size, masks=truth["masks"])
        self._classify(logits, batch, activation)
        return terms

    def _classify(self, logits: Tensor, batch: WSOLBatch, activation: Activation) -> None:
        """Count the answers of the classifier."""
        if self.errors is not None:
            first = batch.get("first", slice(None))
            self.errors.update(logits[first], batch["values"][first])
            return
        if (truth := batch.get("labels")) is not None:
            scores, first = activation.log_probabilities(logits), batch["first"]
            known = scores[:, : truth.shape[1]]  # a classifier may know further classes
            self.precision.update(known[first], truth[first])
            return
        labels = batch["label"]
        known = labels >= 0
        if known.any():
            hits = (logits.topk(min(5, logits.shape[1])).indices == labels[:, None])[known]
            self.accuracy["accuracy"].update(hits[:, 0].float())
            self.accuracy["top5_accuracy"].update(hits.any(dim=1).float())

    def _states(self, method: str, counted: Mapping[str, Score]) -> dict[str, Tensor]:
        found = {key: self.scores[method][key] for key, score in counted.items() if not score.group}
        return {
            f"{key}/{state}": values
            for key, metric in found.items()
            if isinstance(metric, ImageStates)
            for state, values in metric.image_states.items()
        }

    def compute(self) -> dict[str, dict[str, float]]:
        """Compute the metrics by method, as fractions over all processes.

        The floors stand beside the methods as ``full_image`` and ``centered_box``.
        """
        present = self._present()
        classified = self._classified(present)
        results = {}
        for method, metrics in self.scores.items():
            results[method] = {}
            for key, score in self.chosen.items():
                if score.needs <= present:
                    found = _named(metrics[key].compute(), score)
                    results[method] |= _floats(found)
            results[method] |= classified
        if self.floors is not None and present & {"boxes", "masks"}:
            results |= {name: _floats(v) for name, v in self.floors.compute().items()}
        return results

    def _classified(self, present: AbstractSet[str]) -> dict[str, float]:
        """Compute how well the classifier does; every process must call it."""
        if self.errors is not None and VALUES in present:
            return _floats(self.errors.compute())
        if PRESENCE in present:
            return {"mean_average_precision": float(self.precision.compute())}
        if _LABELS not in present:
            return {}
        return _floats({name: metric.compute() for name, metric in self.accuracy.items()})

    def class_precision(self) -> list[float]:
        """Compute the average precision of each class; empty where classes exclude each other.

        Every process must call it. It is NaN for a class that no image has.
        """
        return self.precision.per_class().tolist()

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


def _named(value: Tensor | Mapping[str, Tensor], score: Score) -> dict[str, Tensor]:
    """Name the values that ``compute`` gave as the results do."""
    if not isinstance(value, Mapping):
        (name,) = score.metric.figures
        value = {name: value}
    return {score.name(name): figure for name, figure in value.items()}


def _floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
