"""Metrics of all methods as tables of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports.bootstrap import Interval
from learned_saliency.pipeline.reports.image_scores import Column
from learned_saliency.pipeline.reports.methods_table import MethodsTable, ShownValue, best_methods
from learned_saliency.pipeline.reports.page.blocks import Block, Cell, Details, Head, Table, Text
from learned_saliency.pipeline.reports.results import Results

_PERCENT = "%"


def metrics_blocks(
    results: Results,
    figures: Mapping[str, Figure],
    intervals: Mapping[Column, Interval],
    table: MethodsTable,
) -> list[Block]:
    """Lay out the headline metrics, and all metrics to open."""
    if not results:
        return []
    names = {name: figure.short for name, figure in table.figures.items() if figure.short}
    short = "; ".join(f"{short}: {name}" for name, short in names.items())
    note = "The best value of a column is bold and underlined twice." if _marks(table) else ""
    blocks: list[Block] = []
    if table.figures:
        heads = [head_of(figure.short or name, figure) for name, figure in table.figures.items()]
        rows = [[method, *map(_cell, row)] for method, row in table.methods.items()]
        floors = [[floor, *map(_cell, row)] for floor, row in table.floors.items()]
        head = ["method", *heads]
        blocks.append(Table("Metrics by method", head, rows, floors, "Floors", note))
    if short:
        blocks.append(Text([f"Short names: {short}."]))
    if any(value.interval for row in table.methods.values() for value in row):
        blocks.append(
            Text(
                [
                    "Below a value stands its 95 % bootstrap interval over images: 2000 draws with "
                    "replacement, in each of which thresholds are chosen anew. An image that was "
                    "tested with several classes or values is drawn with all of them."
                ]
            )
        )
    return [*blocks, Details("All metrics", [_everything(results, figures, intervals)])]


def head_of(name: str, figure: Figure | None) -> Head:
    """Head a column of a metric; nothing is known of one that nobody declared."""
    if figure is None:
        return Head(name)
    return Head(name, figure.unit or _PERCENT, figure.higher_is_better)


def _marks(table: MethodsTable) -> bool:
    return any(value.best for row in table.methods.values() for value in row)


def _cell(value: ShownValue) -> Cell:
    ends = "" if value.interval is None else f"{value.interval[0]} to {value.interval[1]}"
    return Cell(value.text, ends, value.best)


def _everything(
    results: Results, figures: Mapping[str, Figure], intervals: Mapping[Column, Interval]
) -> Table:
    """Lay out all metrics, one row per metric, as they are in ``results.json``."""
    names = dict.fromkeys(name for values in results.values() for name in values)
    rows = []
    for name in names:
        figure = figures.get(name)
        best = set() if figure is None else best_methods(results, name, figure)
        cells = []
        for method, values in results.items():
            value, found = values.get(name, math.nan), intervals.get((method, name))
            ends = f"{found.low:.4g} to {found.high:.4g}" if found else ""
            text = "-" if math.isnan(value) else f"{value:.6g}"
            cells.append(Cell(text, "" if text == "-" else ends, method in best))
        rows.append([name, _direction(figure), *cells])
    head = ["metric", "better", *results]
    return Table("All metrics", head, rows, note="As in results.json: fractions, not percent.")


def _direction(figure: Figure | None) -> str:
    better = None if figure is None else figure.higher_is_better
    return "-" if better is None else "higher" if better else "lower"
