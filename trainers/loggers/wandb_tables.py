"""Tables and plots of W&B for the results of a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from learned_saliency.trainers.loggers.dashboard import Report
from learned_saliency.trainers.outputs import class_name, score_line

if TYPE_CHECKING:  # imported where it is used: most runs do not use it
    import wandb

_POINTS = 200  # most points per line


def results_table(report: Report) -> wandb.Table:
    """Build a table with one row per method: its maps of the examples, and its metrics."""
    import wandb

    names = list(dict.fromkeys(name for values in report.results.values() for name in values))
    table = wandb.Table(columns=["method", "maps", *names])
    for method, values in report.results.items():
        drawn = [e.overlays[method] for e in report.examples if method in e.overlays]
        strip = wandb.Image(np.hstack(drawn)) if drawn else None
        table.add_data(method, strip, *(values.get(name) for name in names))
    return table


def examples_table(report: Report) -> wandb.Table:
    """Build a table with one row per image: classes, image, and the image under each map."""
    import wandb

    methods = list(report.examples[0].overlays)
    table = wandb.Table(columns=["image_id", "label", "predicted", "explained", "image", *methods])
    for e in report.examples:
        classes = [class_name(report.class_names, i) for i in (e.label, e.predicted, e.target)]
        if e.score is not None:  # a score takes the place of classes
            classes[1:] = ["", score_line(e.target, e.score)]
        elif e.predicted < 0:  # there is no classifier
            classes[1:] = ["", ""]
        pictures = (wandb.Image(picture) for picture in (e.image, *e.overlays.values()))
        table.add_data(e.image_id, *classes, *pictures)
    return table


def line_plot(lines: Mapping[str, tuple[Tensor, Tensor]], title: str, x_name: str) -> Any:
    """Plot thinned lines (x, y) by name."""
    import wandb

    thinned = []
    for line in lines.values():
        chosen = np.linspace(0, len(line[0]) - 1, min(len(line[0]), _POINTS)).round()
        thinned.append([values.cpu().numpy()[chosen.astype(int)].tolist() for values in line])
    xs, ys = zip(*thinned, strict=True)
    return wandb.plot.line_series(xs, ys, keys=list(lines), title=title, xname=x_name)
