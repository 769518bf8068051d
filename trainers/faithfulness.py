"""Faithfulness metrics of one split for several methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from learned_saliency.metrics import Figure
from learned_saliency.trainers.measurements import FIGURES
from learned_saliency.trainers.scores import MAP_FIGURES
from learned_saliency.trainers.trial import Trial

#: Declarations of all values of a test by name, each with the ground truth that it needs.
TEST_FIGURES: dict[str, Figure] = MAP_FIGURES | {
    name: measurement.figure for name, measurement in FIGURES.items()
}

Observations = Mapping[str, tuple[Any, ...]]


class FaithfulnessScores(nn.Module):
    """Counter of the chosen faithfulness metrics of each method.

    Args:
        methods: Names of the methods.
        figures: Keys of ``FIGURES``; each costs passes of the classifier.

    Raises:
        ValueError: If a key does not exist.
    """

    def __init__(self, methods: Sequence[str], figures: Sequence[str] = ()) -> None:
        super().__init__()
        for name in figures:
            if name not in FIGURES:
                raise ValueError(f"no metric is named {name!r}; there are: {', '.join(FIGURES)}")
        self.figures = tuple(figures)
        self.metrics = nn.ModuleDict(
            {
                method: nn.ModuleDict({name: FIGURES[name].metric() for name in figures})
                for method in methods
            }
        )

    def update(self, method: str, trial: Trial) -> dict[str, Tensor]:
        """Count a batch of one method, by the metrics whose needs the trial has.

        Returns:
            Each image's terms by metric, float64 (B,).
        """
        return self.count(method, self.observe(trial))

    def observe(self, trial: Trial) -> Observations:
        """Let the classifier look at a batch of one method, and count nothing yet.

        Returns:
            Arguments of ``update`` by metric, for those whose needs the trial has.
        """
        return {
            name: FIGURES[name].observe(trial)
            for name in self.figures
            if FIGURES[name].needs <= trial.available
        }

    def count(self, method: str, observed: Observations) -> dict[str, Tensor]:
        """Count what `observe` has found of a method; return each image's terms by metric."""
        terms = {}
        for name, arguments in observed.items():
            self.metrics[method][name].update(*arguments)
            terms[name] = FIGURES[name].term(*arguments)
        return terms

    def compute(self) -> dict[str, dict[str, float]]:
        """Compute the metrics by method, over all processes; without those that saw no image."""
        found = {
            method: {name: float(metric.compute()) for name, metric in metrics.items()}
            for method, metrics in self.metrics.items()
        }
        return {
            method: {name: value for name, value in values.items() if not math.isnan(value)}
            for method, values in found.items()
        }

    def reset(self) -> None:
        """Reset all counts."""
        for metrics in self.metrics.values():
            for metric in metrics.values():
                metric.reset()
