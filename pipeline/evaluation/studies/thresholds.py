"""Study of how much depends on the threshold at which maps are cut (paper 003, Fig. 5 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib.figure
import torch
from torch import Tensor

from learned_saliency.metrics import (
    ActivationHistogram,
    Figure,
    Localization,
    declared,
    plateau_width,
    shares,
    threshold_curve,
)
from learned_saliency.pipeline.evaluation.studies.base import (
    Outcome,
    Setting,
    Study,
    regions_of,
    tested_maps,
)
from learned_saliency.pipeline.evaluation.studies.plots import save_figure
from learned_saliency.storage import write_csv

IOUS = (30, 50, 70)
_OF_BOXES = "threshold, fraction of the map's maximum"
_OF_PIXELS = "threshold, value of the map"

#: Declarations of the values of the study.
FIGURES: dict[str, Figure] = {
    "threshold_box_area": Figure(True, short="box area"),
    "threshold_box_plateau": Figure(True, short="box plateau"),
    "threshold_f1": Figure(True, short="best F1"),
    "threshold_f1_area": Figure(True, short="F1 area"),
    "threshold_f1_plateau": Figure(True, short="F1 plateau"),
    **declared(ActivationHistogram),
}


class Found(NamedTuple):
    """Curves of one method.

    Attributes:
        boxes: See `metrics.Localization.curves`; None without boxes.
        counts: See `metrics.ActivationHistogram.histogram`, on the CPU.
        values: Values of `metrics.ActivationHistogram`.
    """

    boxes: Mapping[str, Tensor] | None
    counts: Tensor
    values: Mapping[str, float]


class Thresholds(Study):
    """Box and pixel accuracy at every threshold, and the values of the maps (paper 003, Sec. 4).

    A map that is bright on the object and dark elsewhere can be cut nearly anywhere; one with a
    single mode near 0 has a best threshold that must be hit. Per method:

    - ``threshold_box_area``: mean over the thresholds 0, 0.001, ..., 0.999 of the box accuracy at
      one IoU, the area under Fig. 5a; ``threshold_box_plateau``: share of the thresholds in the
      stretch around the best one that costs at most ``points`` (`metrics.plateau_width`).
    - ``threshold_f1``: F1 of the pooled pixels at the best threshold, by `metrics.threshold_curve`;
      ``threshold_f1_area`` and ``threshold_f1_plateau`` as above; where the split has masks.
    - the values of `metrics.ActivationHistogram`, in which the boxes stand for missing masks.

    The maps are those of the test.

    Args:
        iou: Intersection over union in percent from which a box counts: 30, 50 or 70.
        points: Loss of accuracy, in percentage points, that a plateau allows, in [0, 100).

    Raises:
        ValueError: If a number is out of range.
    """

    name = "thresholds"
    needs_network = False
    needs_truth = True

    def __init__(self, iou: int = 50, points: float = 5.0) -> None:
        if iou not in IOUS:
            raise ValueError(f"iou must be one of {IOUS}, got {iou}")
        if not 0 <= points < 100:
            raise ValueError(f"points must be in [0, 100), got {points}")
        self.iou = iou
        self.points = points

    def run(self, setting: Setting) -> Outcome:
        """Cut all maps at all thresholds."""
        module, data, split = setting.module, setting.data, setting.config.split
        boxed, masked = data.has_boxes(split), data.has_masks(split)
        scores = {
            name: {"values": ActivationHistogram().to(module.device)}
            | ({"boxes": Localization().to(module.device)} if boxed else {})
            for name in module.map_names
        }
        for number, batch in enumerate(setting.batches(scores)):
            setting.note(f"batch {number + 1}")
            regions = regions_of(batch)
            for name, saliency in tested_maps(module, batch)[0].items():
                scores[name]["values"].update(saliency, regions)
                if boxed:
                    scores[name]["boxes"].update(saliency, batch["boxes"])
        found = {name: _found(**metrics) for name, metrics in scores.items()}
        results = {
            name: threshold_figures(of_one, masked, self.iou, self.points / 100)
            for name, of_one in found.items()
        }
        files = {
            "thresholds.csv": partial(write_curves, found=found, masked=masked),
            "activations.csv": partial(write_shares, found=found),
            "pictures/thresholds.png": partial(
                plot_curves, found=found, masked=masked, iou=self.iou
            ),
            "pictures/activations.png": partial(plot_shares, found=found, masked=masked),
        }
        return Outcome(results, FIGURES, files)


def _found(values: ActivationHistogram, boxes: Localization | None = None) -> Found:
    """Compute the curves of a method; with several processes every one has to call this."""
    curves = None
    if boxes is not None:
        curves = {key: curve.cpu() for key, curve in boxes.curves().items()}
    figures = {key: float(value) for key, value in values.compute().items()}
    return Found(curves, values.histogram().cpu(), figures)


def threshold_figures(
    found: Found, masked: bool, iou: int = 50, tolerance: float = 0.05
) -> dict[str, float]:
    """Summarize the curves of a method by the names of `FIGURES`.

    Args:
        found: The curves.
        masked: Whether the regions are masks.
        iou: See `Thresholds`.
        tolerance: Loss that a plateau allows, a fraction.
    """
    results = {}
    if found.boxes is not None:
        accuracy = found.boxes[f"largest_contour_{iou}"]
        results["threshold_box_area"] = float(accuracy.mean())
        results["threshold_box_plateau"] = plateau_width(accuracy, tolerance)
    if masked:
        f1 = threshold_curve(found.counts).f1
        results["threshold_f1"] = float(f1.max())
        results["threshold_f1_area"] = float(f1.mean())
        results["threshold_f1_plateau"] = plateau_width(f1, tolerance)
    return results | dict(found.values)


def write_curves(path: Path, found: Mapping[str, Found], masked: bool) -> None:
    """Write one row per method and threshold as CSV."""
    rows = []
    for name, of_one in found.items():
        columns = {}
        if of_one.boxes is not None:
            columns = {k: v for k, v in of_one.boxes.items() if k != "thresholds"}
        if masked:
            columns |= threshold_curve(of_one.counts)._asdict()
            columns.pop("thresholds")
        for index in range(1000):
            cells = {key: f"{float(curve[index]):.6f}" for key, curve in columns.items()}
            rows.append({"method": name, "threshold": f"{index / 1000:.3f}"} | cells)
    write_csv(path, list(rows[0]), rows)


def write_shares(path: Path, found: Mapping[str, Found]) -> None:
    """Write one row per method and bin of the histograms (Fig. 6) as CSV."""
    rows = []
    for name, of_one in found.items():
        every = shares(of_one.counts.sum(0, keepdim=True))
        kinds = torch.cat([shares(of_one.counts)[:2], every])
        for index, values in enumerate(kinds.T.tolist()):
            bin_of = {"method": name, "from": f"{index / 50:.2f}", "to": f"{(index + 1) / 50:.2f}"}
            cells = dict(zip(("background", "object", "all"), values, strict=True))
            rows.append(bin_of | {key: f"{value:.6f}" for key, value in cells.items()})
    write_csv(path, list(rows[0]), rows)


def plot_curves(path: Path, found: Mapping[str, Found], masked: bool, iou: int = 50) -> None:
    """Draw box accuracy and F1 against the threshold, one line per method (Fig. 5), as PNG."""
    boxed = all(of_one.boxes is not None for of_one in found.values())
    figure = matplotlib.figure.Figure(figsize=(5 * (boxed + masked), 4), layout="constrained")
    axes = list(figure.subplots(1, boxed + masked, squeeze=False)[0])
    if boxed:
        axis = axes.pop(0)
        for name, of_one in found.items():
            accuracy = of_one.boxes[f"largest_contour_{iou}"]
            axis.plot(of_one.boxes["thresholds"], 100 * accuracy, label=name)
        axis.set(ylabel=f"images with box IoU of {iou} %, %", xlabel=_OF_BOXES)
    if masked:
        axis = axes.pop(0)
        for name, of_one in found.items():
            curve = threshold_curve(of_one.counts)
            axis.plot(curve.thresholds, 100 * curve.f1, label=name)
        axis.set(ylabel="F1 of object pixels, %", xlabel=_OF_PIXELS)
    for axis in figure.axes:
        axis.set(xlim=(0, 1))
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    save_figure(figure, path)


def plot_shares(path: Path, found: Mapping[str, Found], masked: bool) -> None:
    """Draw the histograms of object and background pixels of each method (Fig. 6) as PNG."""
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    size = (max(3.2 * columns, 4.5), 2.6 * rows)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    centers = (torch.arange(50) + 0.5) / 50
    names = ("background", "object") if masked else ("outside boxes", "inside boxes")
    for axis, (name, of_one) in zip(grid, found.items(), strict=False):
        for label, color, values in zip(
            names, ("tab:gray", "tab:orange"), shares(of_one.counts), strict=False
        ):
            axis.fill_between(centers, 100 * values, step="mid", alpha=0.5, color=color)
            axis.step(centers, 100 * values, where="mid", color=color, label=label)
        axis.set(title=name, xlim=(0, 1), yscale="log")
    for axis in grid[len(found) :]:
        axis.set_visible(False)
    figure.supxlabel("value of the map")
    figure.supylabel("share of the pixels, %")
    grid[0].legend(fontsize="small")
    save_figure(figure, path)
