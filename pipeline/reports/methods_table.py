"""Table of all methods with intervals: the values that pages, LaTeX and Markdown lay out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.metrics import FLOORS, Figure
from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.reports.bootstrap import Interval
from learned_saliency.pipeline.reports.image_scores import Column
from learned_saliency.pipeline.reports.markdown import escaped
from learned_saliency.pipeline.reports.results import Results
from learned_saliency.pipeline.reports.tables import NOTHING, shown_figures
from learned_saliency.storage import write_text

_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"}
)


class ShownValue(NamedTuple):
    """Value of a method as tables show it.

    Attributes:
        text: The value, without its unit; ``-`` where there is none.
        interval: Lower and upper end of its interval, likewise; None where there is none.
        best: Whether no other method has a better one, as it is shown, and one has a worse one.
    """

    text: str
    interval: tuple[str, str] | None = None
    best: bool = False


class MethodsTable(NamedTuple):
    """Headline metrics of all methods.

    Attributes:
        figures: Declarations of the columns by name.
        methods: Values of the columns by method.
        floors: Values of what has no method, likewise.
    """

    figures: dict[str, Figure]
    methods: dict[str, list[ShownValue]]
    floors: dict[str, list[ShownValue]]


def methods_table(
    results: Results, figures: Mapping[str, Figure], intervals: Mapping[Column, Interval]
) -> MethodsTable:
    """Collect the headline metrics of an evaluation.

    Args:
        results: Metrics by method, fractions.
        figures: Declarations of the metrics; those that nobody declared are left out.
        intervals: Intervals by method and metric.
    """
    found = dict.fromkeys(
        name for values in results.values() for name, v in values.items() if not math.isnan(v)
    )
    columns = {name: figures[name] for name in shown_figures(list(found), figures)}
    best = {name: best_methods(results, name, figure) for name, figure in columns.items()}
    rows = {
        method: [
            _shown(values.get(name, math.nan), figure, intervals.get((method, name)))._replace(
                best=method in best[name]
            )
            for name, figure in columns.items()
        ]
        for method, values in results.items()
    }
    floors = {method: row for method, row in rows.items() if method in FLOORS}
    return MethodsTable(columns, {k: r for k, r in rows.items() if k not in floors}, floors)


def best_methods(results: Results, name: str, figure: Figure) -> set[str]:
    """Find the methods with the best value of a metric, floors aside; none where all are equal."""
    values = {k: v.get(name, math.nan) for k, v in results.items() if k not in FLOORS}
    values = {method: value for method, value in values.items() if not math.isnan(value)}
    if not values or figure.higher_is_better is None:
        return set()
    best = max(values.values()) if figure.higher_is_better else min(values.values())
    found = {m for m, value in values.items() if figure.shown(value) == figure.shown(best)}
    return found if len(found) < len(values) else set()


def _shown(value: float, figure: Figure, interval: Interval | None) -> ShownValue:
    if math.isnan(value):
        return ShownValue(NOTHING)
    if interval is None or math.isnan(interval.low) or math.isnan(interval.high):
        return ShownValue(figure.shown(value))
    return ShownValue(
        figure.shown(value), (figure.shown(interval.low), figure.shown(interval.high))
    )


def write_tables(folder: Path, table: MethodsTable) -> list[Path]:
    """Write ``table.md`` and ``table.tex`` into the folder of an evaluation."""
    paths = [folder / "table.md", folder / "table.tex"]
    write_text(paths[0], markdown_methods(table))
    write_text(paths[1], latex_methods(table))
    return paths


def markdown_methods(table: MethodsTable) -> str:
    """Lay out the table as Markdown: best values bold, intervals in parentheses."""
    heads = [escaped(head) for head in _heads(table, ("↑", "↓"))]
    lines = [["method", *heads], [":--", *["--:"] * len(heads)]]
    for method, row in (table.methods | table.floors).items():
        cells = [f"**{value.text}**" if value.best else value.text for value in row]
        ends = [f" ({v.interval[0]} to {v.interval[1]})" if v.interval else "" for v in row]
        both = (cell + end for cell, end in zip(cells, ends, strict=True))
        lines.append([escaped(method), *both])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex_methods(table: MethodsTable) -> str:
    """Lay out the table as LaTeX with booktabs: best values bold, intervals in small type."""
    heads = [
        latex_escaped(head).replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")
        for head in _heads(table, ("↑", "↓"))
    ]
    lines = [
        "% \\usepackage{booktabs}; in percent but for other units in the heads; intervals of 95 %",
        f"\\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        _latex_row(["method", *heads]),
        r"\midrule",
        *(_latex_line(method, row) for method, row in table.methods.items()),
        *([r"\midrule"] if table.methods and table.floors else []),
        *(_latex_line(method, row) for method, row in table.floors.items()),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_line(method: str, row: Sequence[ShownValue]) -> str:
    cells = [latex_escaped(method)]
    for value in row:
        text = "--" if value.text == NOTHING else latex_escaped(value.text)
        cell = f"\\textbf{{{text}}}" if value.best else text
        if value.interval:
            cell += f" {{\\scriptsize [{value.interval[0]}, {value.interval[1]}]}}"
        cells.append(cell)
    return _latex_row(cells)


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def latex_escaped(text: str) -> str:
    """Escape a text for LaTeX; it is one line."""
    return printable(text).translate(_LATEX)


def _heads(table: MethodsTable, signs: tuple[str, str]) -> list[str]:
    """Head the columns: short name, unit, and the sign of the better direction."""
    heads = []
    for name, figure in table.figures.items():
        up = figure.higher_is_better
        sign = "" if up is None else f" {signs[0] if up else signs[1]}"
        heads.append(f"{figure.head(name)}{sign}")
    return heads
