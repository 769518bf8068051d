"""Criteria of ``val`` that choose checkpoints and box thresholds without boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from learned_saliency.attribution import CAM, Classifier, GradCAM, SharedFeatures
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import (
    Figure,
    Regions,
    ZeroBoxCutout,
    ZeroBoxGain,
    ZeroBoxInsertion,
    ZeroBoxPseudoBoxes,
    ZeroBoxSegments,
    ZeroBoxStability,
    chosen_boxes,
    cutout_evidence,
    declared,
    explained_by_segments,
    find_regions,
    insertion_minus_deletion,
    kept_probabilities,
    view_agreement,
)
from learned_saliency.ops import widen
from learned_saliency.trainers.outputs import Explanation, known_targets

_BATCH = 32  # altered images in one pass of the classifier
_THRESHOLD = "threshold"


class Explained(NamedTuple):
    """A batch of ``val`` with its native maps, and what its criteria may ask for.

    Attributes:
        classifier: The classifier that the maps explain, in evaluation mode.
        explain: Function of images (B, 3, H, W) to native maps (B, H, W) of the same labels.
        images: Normalized images (B, 3, H, W).
        labels: True classes, int64 (B,); the predicted class where the true one is unknown.
        saliency: Native maps (B, H, W) in [0, 1], at least float32.
        features: Activations of the classifier's last layer, (B, K, h, w).
        logits: Class scores of the images, (B, C).
        regions: Gives the class-agnostic regions of each image; they are kept over epochs.
    """

    classifier: Classifier
    explain: Callable[[Tensor], Tensor]
    images: Tensor
    labels: Tensor
    saliency: Tensor
    features: Tensor
    logits: Tensor
    regions: Callable[[], Sequence[Regions]]

    @property
    def masked(self) -> tuple[Classifier, Tensor, Tensor, Tensor]:
        """First arguments of the criteria that show parts of the images to the classifier."""
        return self.classifier, self.images, self.saliency, self.labels


class _Explainer(Protocol):
    """Part of a `SaliencyModule` that criteria need."""

    classifier: Classifier

    def explain(self, images: Tensor, labels: Tensor) -> Explanation: ...

    def colors(self, images: Tensor) -> Tensor: ...


class _Criterion(NamedTuple):
    """A criterion.

    Attributes:
        metric: Class of its metric.
        observe: Function of a batch to the arguments of the metric's ``update``.
    """

    metric: type[Metric]
    observe: Callable[[Explained], tuple[object, ...]]


def _insertion(given: Explained) -> tuple[object, ...]:
    return (insertion_minus_deletion(*given.masked, batch_size=_BATCH),)


def _cutout(given: Explained) -> tuple[object, ...]:
    return (cutout_evidence(*given.masked, batch_size=_BATCH),)


def _stability(given: Explained) -> tuple[object, ...]:
    agreement = view_agreement(given.explain, given.images, given.saliency)
    return given.saliency, agreement


def _segments(given: Explained) -> tuple[object, ...]:
    segments = [regions.segments for regions in given.regions()]
    return (explained_by_segments(given.saliency, segments),)


def _pseudo_boxes(given: Explained) -> tuple[object, ...]:
    shared = SharedFeatures(given.classifier, given.images, given.features)
    # a classifier without class maps of its own may have any head, for which CAM is not defined
    method = CAM() if hasattr(given.classifier, "cams") else GradCAM()
    response = widen(method(shared, given.images, given.labels))
    return given.saliency, chosen_boxes(response, given.regions())


def _gain(given: Explained) -> tuple[object, ...]:
    return kept_probabilities(*given.masked, given.logits, batch_size=_BATCH)


#: The criteria by name, which is that of the value that chooses.
CRITERIA: dict[str, _Criterion] = {
    "zerobox_insertion": _Criterion(ZeroBoxInsertion, _insertion),
    "zerobox_cutout": _Criterion(ZeroBoxCutout, _cutout),
    "zerobox_stability": _Criterion(ZeroBoxStability, _stability),
    "zerobox_segments": _Criterion(ZeroBoxSegments, _segments),
    "zerobox_gain": _Criterion(ZeroBoxGain, _gain),
    "zerobox_pseudo_boxes": _Criterion(ZeroBoxPseudoBoxes, _pseudo_boxes),
}

#: Criterion that ``monitor=zerobox`` stands for: that with the smallest regret on the creatures,
#: see results/zerobox.md.
DEFAULT_CRITERION = "zerobox_pseudo_boxes"

#: Criterion that chooses the box threshold where the one that chooses the checkpoint gives none.
THRESHOLD_CRITERION = "zerobox_pseudo_boxes"

#: Declarations of the criteria's values by name, each with the ground truth that it needs.
ZEROBOX_FIGURES: dict[str, Figure] = {
    name: figure
    for criterion in CRITERIA.values()
    for name, figure in declared(criterion.metric).items()
}


def gives_threshold(criterion: str) -> bool:
    """Tell whether a criterion, a name of `CRITERIA`, chooses a box threshold, too."""
    return f"{criterion}_{_THRESHOLD}" in ZEROBOX_FIGURES


def draw_images(count: int, most: int, seed: int) -> frozenset[int]:
    """Draw the images of a split that the criteria look at.

    Args:
        count: Number of images of the split.
        most: Most images to draw, at least 1.
        seed: Seed of the draw.

    Returns:
        Places in the list of the split, all of them where there are no more than ``most``.
    """
    order = np.random.default_rng(seed).permutation(count)
    return frozenset(order[:most].tolist())


class ZeroBoxScores(nn.Module):
    """Counter of the criteria that were asked for; others cost nothing.

    Args:
        criteria: Names of `CRITERIA`.
        threshold: The one of them that chooses the box threshold; None where boxes choose it.
        images: Places of the images to look at, see `draw_images`; None for all.

    Raises:
        ValueError: If a name does not exist, or ``threshold`` is not among ``criteria`` or chooses
            no threshold.
    """

    def __init__(
        self,
        criteria: Sequence[str] = (),
        threshold: str | None = None,
        images: Set[int] | None = None,
    ) -> None:
        super().__init__()
        for name in criteria:
            if name not in CRITERIA:
                raise ValueError(f"no criterion is named {name!r}; there are: {list(CRITERIA)}")
        if threshold is not None and not (threshold in criteria and gives_threshold(threshold)):
            raise ValueError(f"{threshold!r} of {list(criteria)} chooses no threshold")
        self.threshold = threshold
        self.metrics = nn.ModuleDict({name: CRITERIA[name].metric() for name in criteria})
        self._images = images
        self._regions: dict[tuple[str, tuple[int, ...]], Regions] = {}  # by image, in this process

    @torch.no_grad()
    def update(self, module: _Explainer, batch: WSOLBatch, found: Explanation) -> None:
        """Count the images of a batch that are to be looked at.

        Args:
            module: The module that explained the batch, in evaluation mode.
            batch: The batch.
            found: What ``module.explain`` gave for its images and labels.
        """
        rows = self._rows(batch)
        if not len(rows):
            return
        images, labels = batch["image"][rows], known_targets(batch["label"], found.logits)[rows]
        names = [batch["image_id"][row] for row in rows.tolist()]
        given = Explained(
            module.classifier,
            lambda views: widen(module.explain(views, labels).saliency),
            images,
            labels,
            widen(found.saliency[rows]),
            found.features[rows],
            found.logits[rows],
            lambda: self._find_regions(names, images, module.colors),
        )
        for name, metric in self.metrics.items():
            metric.update(*CRITERIA[name].observe(given))

    def _rows(self, batch: WSOLBatch) -> Tensor:
        """Find the rows of a batch that are to be looked at, int64 (n,).

        An image of a multi-label task that has no class shows nothing to be found.
        """
        rows = range(len(batch["label"]) if len(self.metrics) else 0)
        if "labels" in batch:
            shown = batch["labels"].any(dim=1).tolist()
            rows = [row for row in rows if shown[row]]
        if self._images is not None:
            places = batch["index"].tolist()
            rows = [row for row in rows if places[row] in self._images]
        return torch.tensor(list(rows), dtype=torch.int64, device=batch["label"].device)

    def _find_regions(
        self, names: Sequence[str], images: Tensor, colors: Callable[[Tensor], Tensor]
    ) -> list[Regions]:
        """Find the regions of images, or take them from an earlier epoch."""
        keys = [(name, tuple(images.shape[-2:])) for name in names]
        missing = [row for row, key in enumerate(keys) if key not in self._regions]
        if missing:
            values = colors(widen(images[missing])).round().to(torch.uint8)
            for row, image in zip(missing, values.permute(0, 2, 3, 1).cpu().numpy(), strict=True):
                self._regions[keys[row]] = find_regions(np.ascontiguousarray(image))
        return [self._regions[key] for key in keys]

    def compute(self) -> dict[str, float]:
        """Compute all values by name, over all processes."""
        values: dict[str, float] = {}
        for name, metric in self.metrics.items():
            found = metric.compute()
            found = found if isinstance(found, dict) else {name: found}
            values |= {figure: float(value) for figure, value in found.items()}
        return values

    def box_threshold(self, values: Mapping[str, float], otherwise: float) -> float:
        """Take the box threshold from what `compute` gave; ``otherwise`` where boxes choose it."""
        return otherwise if self.threshold is None else values[f"{self.threshold}_{_THRESHOLD}"]

    def reset(self) -> None:
        """Reset all counts; the regions of the images stay."""
        for metric in self.metrics.values():
            metric.reset()
