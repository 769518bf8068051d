"""Average drop, gain and increase of images that the classifier sees through several masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from torch import Tensor

from learned_saliency.attribution import SharedFeatures
from learned_saliency.datamodules import WSOLBatch
from learned_saliency.metrics import (
    AverageDrop,
    AverageGain,
    AverageIncrease,
    Figure,
    declared,
    masked_probability,
)
from learned_saliency.pipeline.evaluation.studies.plots import save_figure
from learned_saliency.trainers import SaliencyModule

_METRICS = (AverageDrop, AverageGain, AverageIncrease)  # in the order of the paper's tables

#: Declarations of the three metrics by name.
SHOWN_FIGURES: dict[str, Figure] = {
    name: figure for metric in _METRICS for name, figure in declared(metric).items()
}

ShownScores = Mapping[str, Any]  # the three metrics by name


def shown_scores(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Make the three metrics by name."""
    return {name: metric().to(device) for name, metric in zip(SHOWN_FIGURES, _METRICS, strict=True)}


def computed(scores: ShownScores) -> dict[str, float]:
    """Compute the three metrics, fractions; with several processes every one has to call this."""
    return {name: float(metric.compute()) for name, metric in scores.items()}


def renamed(prefix: str, values: Mapping[str, Any], suffix: str = "") -> dict[str, Any]:
    """Put a study's own words around the names of values."""
    return {f"{prefix}{name}{suffix}": value for name, value in values.items()}


class ShownBatch:
    """A batch, with the answers of a module's classifier to the images as they are.

    The classes are those that the module's test explains, see `SaliencyModule`. The clean images
    take one pass, whose features the methods share.

    Args:
        module: The module, in evaluation mode.
        batch: The batch, on the module's device.

    Attributes:
        images: Shape (B, 3, H, W).
        classifier: The classifier, with the features of the images.
        targets: Classes, int64 (B,).
        p: Probability of the class on the image, shape (B,).
    """

    def __init__(self, module: SaliencyModule, batch: WSOLBatch) -> None:
        self.images = batch["image"]
        self.classifier = SharedFeatures(module.classifier, self.images)
        with torch.no_grad():
            logits = self.classifier(self.images)
        labels = batch["label"] if module.explained == "label" else None
        self.targets = module.known_targets(labels, logits)
        probs = module.activation.probabilities(logits)
        self.p = probs.gather(1, self.targets[:, None])[:, 0]
        self._module = module

    def show(self, masks: Tensor, *scores: ShownScores) -> Tensor:
        """Show the images through masks and count each answer in a metric of its own.

        Args:
            masks: N masks per image, shape (N, B, H, W) in [0, 1].
            *scores: The metrics of the N masks; none to count nothing.

        Returns:
            Probability of the class, shape (N, B).
        """
        found = masked_probability(
            self._module.classifier,
            self.images,
            masks,
            self.targets,
            self.p,
            **self._module.masking,
        )
        for o, metrics in zip(found, scores, strict=bool(scores)):
            for metric in metrics.values():
                metric.update(self.p, o)
        return found


def plot_panels(path: Path, titles: Mapping[str, str], draw: Callable[[str, Axes], None]) -> None:
    """Draw one panel for each metric side by side, with one legend, as PNG.

    Args:
        path: The file.
        titles: Title of the vertical axis by the name of the metric.
        draw: Called with each metric's name and its axes.
    """
    figure = Plot(figsize=(4 * len(titles) + 1.5, 3.8), layout="constrained")
    row = figure.subplots(1, len(titles), squeeze=False)[0]
    for axis, (name, title) in zip(row, titles.items(), strict=True):
        draw(name, axis)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
    lines = {
        label: line
        for axis in row
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(lines.values(), lines, loc="outside right center", fontsize="small")
    save_figure(figure, path)


#: Titles of axes for `plot_panels`, with the better direction.
SHOWN_TITLES = {
    "average_drop": "AD, % (lower is better)",
    "average_gain": "AG, % (higher is better)",
    "average_increase": "AI, % (higher is better)",
}
