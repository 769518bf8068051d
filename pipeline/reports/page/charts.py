"""Charts as SVG: places of lines, ticks and labels, and the same values in words and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from learned_saliency.pipeline.reports.page.blocks import Chart, Line, Point, Table

_WIDTH, _HEIGHT = 480, 320
_BOX = 62, 14, _WIDTH - 14, _HEIGHT - 50  # edges of the plane
_MOST_POINTS = 200
_ROWS = 11  # in the table of a line with many points
_COLORS, _DASHES = 8, 4


class Stroke(NamedTuple):
    """Line of a drawn chart.

    Attributes:
        name: Name in the legend.
        points: Places as SVG has them.
        style: Names of its classes.
    """

    name: str
    points: str
    style: str


class Tick(NamedTuple):
    """Mark of an axis: place and label."""

    at: float
    label: str


class DrawnChart(NamedTuple):
    """Chart with all places in the units of its SVG.

    Attributes:
        box: Left, top, right and bottom edge of the plane.
        size: Width and height of the picture.
        strokes: The lines.
        x_ticks: Marks of the horizontal axis.
        y_ticks: Marks of the vertical axis.
        told: The lines in words.
        table: Their values.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    strokes: list[Stroke]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    told: str
    table: Table


def draw_chart(chart: Chart) -> DrawnChart:
    """Find all places of a chart; lines without a finite point are left out."""
    lines = [Line(line.name, _finite(line.points)) for line in chart.lines]
    lines = [line for line in lines if line.points]
    points = [point for line in lines for point in line.points]
    plane = _Plane(
        chart.x_range or _ends([x for x, _ in points]),
        chart.y_range or _ends([y for _, y in points] + list(chart.levels.values())),
    )
    x_range, y_range = plane
    whole = all(float(x).is_integer() for x, _ in points)  # epochs, for example
    strokes = [
        Stroke(line.name, plane.path(_thinned(line.points)), _style(i))
        for i, line in enumerate(lines)
    ]
    for i, (name, y) in enumerate(chart.levels.items()):
        ends = plane.path([(x_range[0], y), (x_range[1], y)])
        strokes.append(Stroke(name, ends, f"level dash{1 + i % 3}"))
    told = [_told(line) for line in lines]
    told += [f"{name}: {_number(y)}." for name, y in chart.levels.items()]
    return DrawnChart(
        _BOX,
        (_WIDTH, _HEIGHT),
        strokes,
        [Tick(plane.place(x, y_range[0])[0], _number(x)) for x in _ticks(*x_range, whole)],
        [Tick(plane.place(x_range[0], y)[1], _number(y)) for y in _ticks(*y_range)],
        " ".join(told),
        _table(chart, lines),
    )


class _Plane(NamedTuple):
    """Ends of both axes."""

    x_range: Point
    y_range: Point

    def place(self, x: float, y: float) -> Point:
        """Find the place of a point in the picture."""
        left, top, right, bottom = _BOX
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        up = (y - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def path(self, points: Sequence[Point]) -> str:
        """Write points as SVG does."""
        places = (self.place(*point) for point in points)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _ends(values: Sequence[float]) -> Point:
    """Find the ends of an axis that has all values in it."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 0.5
    return (low - room if low < 0 else max(0.0, low - room)), high + room


def _thinned(points: list[Point]) -> list[Point]:
    """Leave out points of a long line, but not its ends nor its highest and lowest points."""
    if len(points) <= _MOST_POINTS:
        return points
    heights = [y for _, y in points]
    kept = set(np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int).tolist())
    kept |= {heights.index(max(heights)), heights.index(min(heights))}
    return [points[i] for i in sorted(kept)]


def _style(i: int) -> str:
    return f"color{i % _COLORS} dash{(i + i // _COLORS) % _DASHES}"


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Choose about five round numbers in a range, or at most as many whole ones."""
    rough = max((high - low) / 5, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _told(line: Line) -> str:
    ends = line.points[0], line.points[-1]
    x, y = max(line.points, key=lambda point: point[1])
    return (
        f"{line.name}: from {_number(ends[0][1])} to {_number(ends[1][1])}, highest "
        f"{_number(y)} at {_number(x)}."
    )


def _table(chart: Chart, lines: Sequence[Line]) -> Table:
    """Take the values of all lines at the same places: between two points on the line's way."""
    places = sorted({x for line in lines for x, _ in line.points})
    if len(places) > 3 * _ROWS:
        places = np.linspace(places[0], places[-1], _ROWS).tolist()
    columns = []
    for line in lines:
        x, y = np.array(sorted(line.points)).T
        found = np.interp(places, x, y, left=math.nan, right=math.nan).tolist()
        columns.append(["-" if math.isnan(value) else _number(value) for value in found])
    rows = [[_number(x), *row] for x, *row in zip(places, *columns, strict=True)]
    label = f"{chart.title}: values"
    return Table(label, [chart.x_label, *(line.name for line in lines)], rows)
