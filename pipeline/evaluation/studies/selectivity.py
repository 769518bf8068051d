"""Study of how faithfulness depends on the selectivity of maps, raised to exponents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.evaluation.studies.base import Outcome, Setting, Study, explainers
from learned_saliency.pipeline.evaluation.studies.shown import (
    SHOWN_FIGURES,
    SHOWN_TITLES,
    ShownBatch,
    computed,
    plot_panels,
    renamed,
    shown_scores,
)
from learned_saliency.storage import write_csv

#: Exponents of App. E.1.
EXPONENTS = (0.01, 0.05, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)

Curves = Mapping[str, Mapping[float, Mapping[str, float]]]  # by method, exponent and metric


class Selectivity(Study):
    """Average drop, gain and increase of all maps to a power (paper 000, App. E.1, Fig. A4).

    Small exponents make a map uniform, so that the network sees more of the image; large ones make
    it selective. The order of the pixels stays. A constant map, all zeros, stays one.

    Maps are made once. An image costs one pass beside those of the methods, and one more for each
    method and exponent.

    Args:
        exponents: The exponents, above 0, each once.

    Raises:
        ValueError: If there is none, or one is out of range or there twice.
    """

    name = "selectivity"

    def __init__(self, exponents: Sequence[float] = EXPONENTS) -> None:
        found = sorted({float(value) for value in exponents})
        if not found or len(found) < len(exponents) or not found[0] > 0:
            raise ValueError(
                f"exponents must be above 0, at least one, each once, got {list(exponents)}"
            )
        self.exponents = found

    def run(self, setting: Setting) -> Outcome:
        """Show the images through the powers of all maps."""
        module = setting.module
        methods = explainers(module)
        scores: dict[str, dict[str, Any]] = {
            name: {str(exponent): shown_scores(module.device) for exponent in self.exponents}
            for name in methods
        }
        for number, batch in enumerate(setting.batches(scores)):
            shown = ShownBatch(module, batch)
            for name, method in methods.items():
                setting.note(f"{name}, batch {number + 1}")
                maps = method(shown.classifier, shown.images, shown.targets)
                shown.show(powers(maps, self.exponents), *scores[name].values())
        curves = {
            name: {float(exponent): computed(each) for exponent, each in found.items()}
            for name, found in scores.items()
        }
        files = {
            "selectivity.csv": partial(write_powers, curves=curves),
            "pictures/selectivity.png": partial(plot_powers, curves=curves),
        }
        return Outcome(_results(curves), self._figures(), files)

    def _figures(self) -> dict[str, Figure]:
        return {
            f"selectivity_{name}_{exponent:g}": figure._replace(headline=False, short=None)
            for exponent in self.exponents
            for name, figure in SHOWN_FIGURES.items()
        } | {
            f"selectivity_{name}": figure._replace(short=f"{figure.short} powers")
            for name, figure in SHOWN_FIGURES.items()
        }


def powers(maps: Tensor, exponents: Sequence[float]) -> Tensor:
    """Raise maps (B, H, W) in [0, 1] to N exponents above 0: (N, B, H, W) in [0, 1]."""
    return torch.stack([maps**exponent for exponent in exponents])


def _results(curves: Curves) -> dict[str, dict[str, float]]:
    """Name the values by exponent; without one, their means over the exponents."""
    results: dict[str, dict[str, float]] = {}
    for method, found in curves.items():
        results[method] = {
            f"selectivity_{name}": sum(values[name] for values in found.values()) / len(found)
            for name in SHOWN_FIGURES
        }
        for exponent, values in found.items():
            results[method] |= renamed("selectivity_", values, f"_{exponent:g}")
    return results


def write_powers(path: Path, curves: Curves) -> None:
    """Write one row per method and exponent as CSV."""
    rows = [
        {"method": method, "exponent": f"{exponent:g}"}
        | {name: f"{value:.6f}" for name, value in values.items()}
        for method, found in curves.items()
        for exponent, values in found.items()
    ]
    write_csv(path, ["method", "exponent", *SHOWN_FIGURES], rows)


def plot_powers(path: Path, curves: Curves) -> None:
    """Draw the three metrics against the exponent, one line per method (Fig. A4), as PNG."""

    def draw(metric: str, axis: Axes) -> None:
        for method, found in curves.items():
            values = [100 * each[metric] for each in found.values()]
            axis.plot(list(found), values, marker="o", markersize=3, label=method)
        axis.axvline(1, color="gray", linewidth=0.8)
        axis.set(xlabel="exponent", xscale="log", ylim=(-3, 103))

    plot_panels(path, SHOWN_TITLES, draw)
