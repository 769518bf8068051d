"""Study of whether accuracy falls when the most salient pixels are erased (remove-and-classify)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import (
    FRACTIONS,
    RemovalCurve,
    RemoveAndClassify,
    blurred_hits,
    declared,
    random_saliency,
    removal_hits,
)
from learned_saliency.pipeline.evaluation.studies.base import (
    Explainer,
    Outcome,
    Setting,
    Study,
    explainers,
    labeled,
)
from learned_saliency.pipeline.evaluation.studies.plots import save_figure
from learned_saliency.storage import write_csv

_NAME = "relative_accuracy"


class Removal(Study):
    """Remove-and-classify with all methods (paper 001, Fig. 5); see `count_removed`.

    Args:
        fractions: Erased parts of the pixels, in (0, 1).
        seed: Seed of the random erasure to which the accuracy is relative.

    Raises:
        ValueError: If ``fractions`` is empty or a fraction is out of range.
    """

    name = "removal"
    needs_labels = True

    def __init__(self, fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> None:
        self.figures = declared(RemoveAndClassify(fractions))
        self.fractions = list(fractions)
        self.seed = seed

    def run(self, setting: Setting) -> Outcome:
        """Erase the most salient pixels of all images, by all methods."""
        methods, device = explainers(setting.module), setting.module.device
        scores = {name: RemoveAndClassify(self.fractions).to(device) for name in methods}
        count_removed(
            setting.module.classifier,
            labeled(setting.batches(scores)),
            methods,
            scores,
            seed=self.seed,
            note=setting.note,
        )
        curves = {name: metric.curve() for name, metric in scores.items()}
        files = {
            "removal.csv": partial(write_curves, curves=curves),
            "pictures/removal.png": partial(plot_removal, curves=curves),
        }
        return Outcome(removal_figures(curves), self.figures, files)


def count_removed(
    classifier: nn.Module,
    batches: Iterable[WSOLBatch],
    methods: Mapping[str, Explainer],
    scores: Mapping[str, RemoveAndClassify],
    *,
    seed: int = 0,
    batch_size: int = 64,
    note: Callable[[str], None] = lambda what: None,
) -> None:
    """Count accuracies with the most salient pixels erased (paper 001, Sec. 5.3 and Fig. 5).

    Maps explain the true class. All methods share one random erasure per image, drawn from
    ``seed``.

    Args:
        classifier: The network of images to logits that the maps explain, in evaluation mode.
        batches: Images of a split, on the classifier's device.
        methods: Methods by name, ``(classifier, images, targets) -> maps (B, H, W) in [0, 1]``.
        scores: Metric of each method, to which the batches are added.
        seed: Seed of the random erasure.
        batch_size: Most images per pass.
        note: Called with a description of the current work.
    """
    chance_maps = _ChanceMaps(seed)
    for number, batch in enumerate(batches):
        images, labels = batch["image"], batch["label"]
        chance = chance_maps(images, batch["index"].tolist())
        metric, *_ = scores.values()
        options = {"fractions": metric.fractions, "batch_size": batch_size}
        random_hits = removal_hits(classifier, images, chance, labels, **options)
        blurred = blurred_hits(classifier, images, labels, batch_size=batch_size)
        for name, method in methods.items():
            note(f"{name}, batch {number + 1}")
            with torch.no_grad():
                maps = method(classifier, images, labels).float()
            hits = removal_hits(classifier, images, maps, labels, **options)
            scores[name].update(hits, random_hits, blurred)


class _ChanceMaps:
    """Random maps, which depend on an image's place in the split alone.

    Args:
        seed: Seed of the numbers.
    """

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._next = 0  # place of the image whose numbers come next

    def __call__(self, images: Tensor, places: Sequence[int]) -> Tensor:
        """Draw the maps (B, H, W) of images at ascending places."""
        found = []
        for place in places:
            for _ in range(self._next, place):  # images that are not this process's
                random_saliency(images[:1], self._generator)
            found.append(random_saliency(images[:1], self._generator))
            self._next = place + 1
        return torch.cat(found)


def removal_figures(curves: Mapping[str, RemovalCurve]) -> dict[str, dict[str, float]]:
    """Summarize the curves of the methods.

    ``relative_accuracy_K`` is R_k for K percent, ``relative_accuracy`` their mean, and
    ``blurred_accuracy`` the classifier's accuracy with all pixels erased.
    """
    found = {}
    for name, curve in curves.items():
        ratios = curve.relative_accuracy
        percents = (f"{100 * fraction:g}" for fraction in curve.fractions.tolist())
        found[name] = {_NAME: float(ratios.nanmean())}
        found[name] |= {f"{_NAME}_{k}": v for k, v in zip(percents, ratios.tolist(), strict=True)}
        found[name]["blurred_accuracy"] = float(curve.blurred_accuracy)
    return found


def write_curves(path: Path, curves: Mapping[str, RemovalCurve]) -> None:
    """Write one row per method and fraction as CSV.

    The last fraction is 1, all pixels erased, which is the same for every map.
    """
    columns = ["method", "erased", "accuracy", "random_accuracy", _NAME]
    rows = []
    for name, curve in curves.items():
        whole = float(curve.blurred_accuracy)
        values = torch.stack(curve[:4], dim=1).tolist()
        for erased, *figures in [*values, [1.0, whole, whole, 1.0 if whole else math.nan]]:
            cells = ("" if math.isnan(value) else f"{value:.6f}" for value in figures)
            rows.append(dict(zip(columns, [name, f"{erased:g}", *cells], strict=True)))
    write_csv(path, columns, rows)


def _removal_scale(curves: Mapping[str, RemovalCurve]) -> tuple[float, float]:
    """Percents that hold all curves and 100, with some room; 0 is not passed."""
    ratios = torch.cat([curve.relative_accuracy for curve in curves.values()])
    known = 100 * ratios[ratios.isfinite()]
    low, high = (float(v) for v in torch.cat([known, known.new_tensor([100.0])]).aminmax())
    room = max(0.08 * (high - low), 1.0)
    return max(low - room, 0.0), high + room


def plot_removal(path: Path, curves: Mapping[str, RemovalCurve]) -> None:
    """Draw R_k against k, one line per method (Fig. 5), as PNG.

    The scale is that of the methods' curves and of 100 %, which is random erasing; what is left
    when all is erased is left out where it lies below.
    """
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axis = figure.subplots()
    for name, curve in curves.items():
        axis.plot(100 * curve.fractions, 100 * curve.relative_accuracy, marker="o", label=name)
    axis.axhline(100, color="gray", linewidth=0.8, label="random erasing")
    scale = _removal_scale(curves)
    for curve in list(curves.values())[:1]:  # all have one classifier
        floor = 100 * curve.blurred_accuracy / curve.random_accuracy
        if bool((floor > scale[0]).any()):
            axis.plot(100 * curve.fractions, floor, color="gray", linestyle=":", label="all erased")
    axis.set(xlabel="erased pixels, %", ylabel="accuracy relative to random erasing, %")
    axis.set(xlim=(0, 100), ylim=scale)
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, path)
