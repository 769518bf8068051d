"""Methods whose maps tell no more than a floor: a box in the middle of each image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from learned_saliency.metrics import FLOORS, Figure
from learned_saliency.pipeline.reports.bootstrap import Interval
from learned_saliency.pipeline.reports.image_scores import Column
from learned_saliency.pipeline.reports.results import Results

_MEANING = "no more than a box in the middle of each image"


class BelowFloor(NamedTuple):
    """Metric of a method that does not beat the floors.

    Attributes:
        metric: Name of the metric.
        value: Value of the method.
        interval: Interval of this value; None where single images are not known.
        floor: Name of the higher floor.
        level: Value of this floor.
    """

    metric: str
    value: float
    interval: Interval | None
    floor: str
    level: float


def below_floors(
    results: Results, figures: Mapping[str, Figure], intervals: Mapping[Column, Interval]
) -> dict[str, list[BelowFloor]]:
    """Find the metrics in which the maps of methods do not beat the higher floor.

    A method beats it where its whole interval lies above the floor's value, and where there is no
    interval, if its own value does. The floor's value counts as it is: its box has the best size
    for the tested images.

    Args:
        results: Metrics by method, fractions, the floors among them; those are higher-is-better.
        figures: Declarations of the metrics.
        intervals: Intervals by method and metric.

    Returns:
        What was found by method; methods that beat the floors everywhere are left out.
    """
    found: dict[str, list[BelowFloor]] = {}
    for method, values in results.items():
        for metric, value in {} if method in FLOORS else values.items():
            levels = {floor: results.get(floor, {}).get(metric, math.nan) for floor in FLOORS}
            levels = {floor: level for floor, level in levels.items() if not math.isnan(level)}
            if metric not in figures or not levels or math.isnan(value):
                continue
            floor = max(levels, key=lambda name: levels[name])
            interval = intervals.get((method, metric))
            least = value if interval is None else min(value, interval.low)
            if least <= levels[floor]:
                below = BelowFloor(metric, value, interval, floor, levels[floor])
                found.setdefault(method, []).append(below)
    return found


def list_below_floors(
    results: Results, figures: Mapping[str, Figure], intervals: Mapping[Column, Interval]
) -> list[str]:
    """Say of each method with which values it does not beat the floors; see `below_floors`."""
    return [
        f"{method}: its map tells {_MEANING}, as far as these images show: "
        f"{'; '.join(_told(below, figures[below.metric]) for below in of_method)}."
        for method, of_method in below_floors(results, figures, intervals).items()
    ]


def told_below_floors(
    results: Results, figures: Mapping[str, Figure], intervals: Mapping[Column, Interval]
) -> str:
    """Name methods and metrics that do not beat the floors in a sentence; empty for none."""
    found = below_floors(results, figures, intervals)
    if not found:
        return ""
    named = "; ".join(
        f"{method} in {', '.join(below.metric for below in of_method)}"
        for method, of_method in found.items()
    )
    maps = "this map tells" if len(found) == 1 else "these maps tell"
    return f"{maps} {_MEANING} (centered_box), as far as the tested images show: {named}."


def _told(below: BelowFloor, figure: Figure) -> str:
    value, level = figure.shown(below.value), figure.shown(below.level)
    if (interval := below.interval) is not None:
        value += f" ({figure.shown(interval.low)} to {figure.shown(interval.high)})"
    return f"{below.metric} {value} against {level} of {below.floor}"
