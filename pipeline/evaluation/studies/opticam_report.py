"""Table and pictures of the study of Opti-CAM's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from learned_saliency.pipeline.evaluation.studies.opticam_variants import Variant
from learned_saliency.pipeline.evaluation.studies.shown import (
    SHOWN_FIGURES,
    SHOWN_TITLES,
    plot_panels,
)
from learned_saliency.storage import write_csv

_CONFIGURED = "as configured"


class Ablation(NamedTuple):
    """Result of Opti-CAM in one way.

    Attributes:
        variant: The way.
        rows: The three metrics by number of iterations, fractions.
        seconds: Time per image by number of iterations, in seconds.
        objective: Mean over images of the objective before each update.
    """

    variant: Variant
    rows: Mapping[int, Mapping[str, float]]
    seconds: Mapping[int, float]
    objective: Sequence[float]

    @property
    def label(self) -> str:
        """Name in pictures."""
        factor, value, *_ = self.variant
        return f"{factor} {value}".replace("_", " ") if factor else _CONFIGURED

    @property
    def unit(self) -> str:
        """Name of what the objective measures, which another one cannot be compared with."""
        objective = self.variant.method.objective
        return f"{objective.objective} of the {objective.selector}".replace("_", " ")


def write_ablations(path: Path, found: Sequence[Ablation]) -> None:
    """Write one row per variant and number of iterations as CSV."""
    rows = [
        {"option": each.variant.factor or _CONFIGURED, "value": each.variant.value}
        | {"iterations": step}
        | {name: f"{value:.6f}" for name, value in values.items()}
        | {"seconds_per_image": f"{each.seconds[step]:.4f}"}
        for each in found
        for step, values in each.rows.items()
    ]
    columns = ["option", "value", "iterations", *SHOWN_FIGURES, "seconds_per_image"]
    write_csv(path, columns, rows)


def plot_iterations(path: Path, found: Sequence[Ablation]) -> None:
    """Draw the metrics against the iterations, one line per learning rate (Fig. A5), as PNG."""
    rates = [each for each in found if each.variant.factor in ("", "learning_rate")]
    rates.sort(key=lambda each: each.variant.method.learning_rate)

    def draw(metric: str, axis: Axes) -> None:
        for each in rates:
            label = f"learning rate {each.variant.method.learning_rate:g}"
            label += "" if each.variant.factor else f" ({_CONFIGURED})"
            values = [100 * row[metric] for row in each.rows.values()]
            axis.plot(list(each.rows), values, marker="o", markersize=3, label=label)
        axis.set(xlabel="iterations", xlim=(0, None))

    plot_panels(path, SHOWN_TITLES, draw)


def plot_objectives(path: Path, found: Sequence[Ablation]) -> None:
    """Draw the objective before each update as PNG, one panel for each kind of objective."""
    units = list(dict.fromkeys(each.unit for each in found))

    def draw(unit: str, axis: Axes) -> None:
        for number, each in enumerate(found):
            if each.unit == unit:
                steps = range(len(each.objective))
                axis.plot(
                    steps,
                    each.objective,
                    label=each.label,
                    color=f"C{number % 10}",
                    linestyle="-" if number < 10 else "--",
                )
        axis.set(xlabel="updates of u", xlim=(0, None))

    plot_panels(path, {unit: f"objective: {unit}" for unit in units}, draw)
