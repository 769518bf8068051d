"""Curves of a page: of the test, from the states of its images, and of the training."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from learned_saliency.metrics import FLOORS, Localization, PxAP
from learned_saliency.pipeline.reports.image_scores import ImageScores
from learned_saliency.pipeline.reports.page.blocks import Chart, Line
from learned_saliency.pipeline.reports.results import Results
from learned_saliency.pipeline.reports.tables import shown_figures
from learned_saliency.trainers import METRICS_FILE, MONITORS, NATIVE, SCORES, TEST_FIGURES

_NAME = re.compile(r"(?:(.*)/)?(train|val)/(.+)")
_PERCENT = (0.0, 100.0)
_MOST_LINES = 8

Curve = list[tuple[float, float]]


def test_charts(scores: ImageScores, results: Results) -> list[Chart]:
    """Draw box accuracy against the threshold, and precision against recall, of all methods."""
    boxes = {m: _box_accuracy(sums) for m, sums in _sums(scores, Localization)}
    pixels = {m: _precision_recall(sums) for m, sums in _sums(scores, PxAP)}
    charts = []
    if boxes:
        floors = {f: 100 * results[f]["max_box_acc"] for f in FLOORS if f in results}
        lines = [Line(name, curve) for name, curve in boxes.items()]
        name = "Box accuracy at IoU 0.5 against the threshold"
        label = "accuracy, percent"
        charts.append(Chart(name, "threshold", label, lines, floors, (0.0, 1.0), _PERCENT))
    if pixels:
        lines = [Line(name, curve) for name, curve in pixels.items()]
        name = "Precision against recall of pixels"
        labels = "recall, percent", "precision, percent"
        charts.append(Chart(name, *labels, lines, x_range=_PERCENT, y_range=_PERCENT))
    return charts


def _sums(
    scores: ImageScores, kind: type[Localization] | type[PxAP]
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Sum the states of a metric over all images, by method."""
    keys = [key for key, score in SCORES.items() if isinstance(score.metric, kind)]
    for method, states in scores.states.items():
        for key in keys:
            names = {n.removeprefix(f"{key}/"): n for n in states if n.startswith(f"{key}/")}
            own = {name: states[n].sum(0, dtype=np.int64) for name, n in names.items()}
            if own:
                yield method, {name: torch.as_tensor(values) for name, values in own.items()}


def _box_accuracy(sums: Mapping[str, torch.Tensor]) -> Curve:
    metric = Localization(sync_on_compute=False)  # other processes have left the test
    metric.hits, metric.images = sums["hits"], sums["images"]
    found = metric.curves()
    return _points(found["thresholds"], 100 * found["largest_contour_50"])


def _precision_recall(sums: Mapping[str, torch.Tensor]) -> Curve:
    metric = PxAP(sync_on_compute=False)
    metric.object_scores, metric.background_scores = (
        sums["object_scores"],
        sums["background_scores"],
    )
    found = metric.curve()
    return _points(100 * found.recall, 100 * found.precision)


def _points(x: torch.Tensor, y: torch.Tensor) -> Curve:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def training_charts(folder: Path) -> list[Chart]:
    """Draw losses, metrics on ``val`` and learning rates of each stage of a training."""
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    stages: dict[str, dict[str, None]] = {}
    for name in rows[0] if rows else {}:
        if found := _NAME.fullmatch(name):
            stages.setdefault(found[1] or "", {})[f"{found[2]}/{found[3]}"] = None
    charts = []
    for stage in sorted(stages, reverse=True):  # the last one, which has no name, comes last
        charts += _stage_charts(rows, stage, list(stages[stage]))
    return charts


def _stage_charts(rows: list[dict[str, str]], stage: str, names: list[str]) -> list[Chart]:
    begin, title = (f"{stage}/", f" ({stage})") if stage else ("", "")
    by_epoch = [n for n in names if n.startswith("train/loss") and n.endswith("_epoch")]
    lines = _lines(rows, begin, by_epoch, "epoch")
    axis = "epoch"
    if not lines:
        by_step = [n for n in names if n.startswith("train/loss") and n.endswith("_step")]
        lines, axis = _lines(rows, begin, by_step, "step"), "step"
    charts = [Chart(f"Losses{title}", axis, "loss", _named(lines))] if lines else []
    parts = [n for n in names if n.startswith("train/gradient_share/")]
    lines = _lines(rows, begin, parts, "step", 100.0)
    if lines:
        name = f"Parts of the gradient{title}"
        charts.append(Chart(name, "step", "percent", _named(lines), y_range=_PERCENT))
    own = f"val/{NATIVE}/"
    known = [n.removeprefix(own) for n in names if n.startswith(own)]
    figures = TEST_FIGURES | MONITORS  # with the criteria that need no box
    shown = [
        f"{own}{name}"
        for name in shown_figures(known, figures)
        if figures[name].unit is None and figures[name].higher_is_better is not None
    ]
    lines = _lines(rows, begin, shown[:_MOST_LINES], "epoch", 100.0)
    if lines:
        name = f"Metrics on val{title}"
        charts.append(Chart(name, "epoch", "percent", _named(lines), y_range=_PERCENT))
    rates = [n for n in names if n.startswith("train/lr")]
    lines = _lines(rows, begin, rates, "epoch")
    if lines:
        charts.append(Chart(f"Learning rate{title}", "epoch", "learning rate", _named(lines)))
    return charts


def _lines(
    rows: list[dict[str, str]], begin: str, names: list[str], axis: str, factor: float = 1.0
) -> dict[str, Curve]:
    """Read the curves with two points or more, epochs counted from 1."""
    place = f"{begin}epoch" if axis == "epoch" else "step"
    found = {}
    for name in names:
        points = [
            (float(row[place]) + (axis == "epoch"), factor * float(row[begin + name]))
            for row in rows
            if row.get(begin + name) and row.get(place)
        ]
        if len(points) > 1:
            found[name] = points
    return found


def _named(lines: Mapping[str, Curve]) -> list[Line]:
    """Name lines by the last part of their names."""
    return [
        Line(name.rpartition("/")[2].removesuffix("_epoch").removesuffix("_step"), points)
        for name, points in lines.items()
    ]
