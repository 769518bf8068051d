"""Tables of a comparison: terminal, CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_saliency.pipeline.comparison.estimates import Estimate, Interval
from learned_saliency.pipeline.comparison.matching import Matched
from learned_saliency.pipeline.comparison.rows import Options, Row, figure_of
from learned_saliency.pipeline.reports import (
    NOTHING,
    Signs,
    escaped,
    latex_escaped,
    layout,
    markdown_table,
)
from learned_saliency.storage import write_csv, write_text

_ESTIMATES = ("value", "difference")
_INTERVALS = {"mean": "seeds", "single": "one_more_seed", "images_too": "seeds_and_images"}
_SIGNS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$"}


def shown_rows(groups: Sequence[Sequence[Row]], asked: Sequence[str]) -> list[Row]:
    """Select the rows of the tables to read: of metrics that were asked for, or of headlines."""
    rows = [row for rows in groups for row in rows]
    return [row for row in rows if asked or figure_of(row.metric).headline]


def table_cells(rows: Sequence[Row], signs: Signs) -> list[list[str]]:
    """Lay the rows out as cells, in percent, the first row being the heads.

    A difference has a ``*`` where 0 lies outside its interval over images and, where there is one,
    outside the interval of the mean over trainings, too.
    """
    several = any(row.value.trainings for row in rows)
    spread = any(row.difference and row.difference.trainings for row in rows)
    titled = len({row.title for row in rows}) > 1
    heads = ["metric", *(["method"] if titled else []), "run", "value", "over images"]
    heads += ["spread of seeds"] if several else []
    heads += ["difference", "over images"]
    heads += ["over seeds", "one more seed", "seeds and images"] if spread else []
    cells = [heads]
    for row in rows:
        line = [signs.column(row.metric, figure_of(row.metric))]
        line += [row.title or NOTHING] if titled else []
        line += [row.contender.name, *_value_cells(row, several, signs)]
        cells.append([*line, *_difference_cells(row, spread)])
    return cells


def _value_cells(row: Row, several: bool, signs: Signs) -> list[str]:
    figure, found = figure_of(row.metric), row.value
    cells = [_number(figure.shown(found.value)), _interval(row, found.images)]
    if several:
        spread = found.trainings
        cells.append(f"{signs.spread}{figure.shown(spread.std)}" if spread else NOTHING)
    return cells


def _difference_cells(row: Row, several: bool) -> list[str]:
    found = row.difference
    if found is None:
        return [NOTHING] * (5 if several else 2)
    mark = "*" if is_apart(found) else ""
    cells = [f"{_signed(row, found.value)}{mark}", _interval(row, found.images)]
    if several:
        spread = found.trainings
        ends = [getattr(spread, name) for name in _INTERVALS] if spread else []
        cells += [_interval(row, interval) for interval in ends] or [NOTHING] * 3
    return cells


def is_apart(difference: Estimate) -> bool:
    """Tell whether 0 lies outside a difference's intervals over images and over trainings."""
    intervals = [difference.images]
    intervals += [difference.trainings.mean] if difference.trainings else []
    return all(interval.low > 0 or interval.high < 0 for interval in intervals)


def star_told(rows: Sequence[Row]) -> str:
    """Tell what a ``*`` means in a table of these rows."""
    seeds = {row.difference.trainings is not None for row in rows if row.difference}
    over = "0 lies outside the interval over images"
    if seeds == {True, False}:
        over += " and, except beside a single run, over seeds"
    elif True in seeds:
        over = "0 lies outside the intervals over images and over seeds"
    elif any(row.value.trainings for row in rows):
        over += " (a single run beside a sweep has none over seeds)"
    return f"*: {over}"


def _interval(row: Row, interval: Interval) -> str:
    shown = figure_of(row.metric).shown
    return f"[{_number(shown(interval.low))}, {_number(shown(interval.high))}]"


def _signed(row: Row, value: float) -> str:
    shown = _number(figure_of(row.metric).shown(value))
    return shown if shown.startswith("-") or float(shown) == 0 else f"+{shown}"


def _number(shown: str) -> str:
    """Write a rounded number without the sign of a rounded zero."""
    return shown.removeprefix("-") if float(shown) == 0 else shown


def shared_method(rows: Sequence[Row]) -> str:
    """Name the method of all rows, for a heading; empty where rows or names of runs tell it."""
    titles = {row.title for row in rows}
    return f"method {titles.pop()}" if len(titles) == 1 and "" not in titles else ""


def format_comparison(rows: Sequence[Row], matched: Matched, level: float) -> str:
    """Write the table for the terminal, with a heading and the notes."""
    signs = Signs.printable()
    method = shared_method(rows)
    heading = signs.heading(
        f"{matched.sides[0].members[0].saved.split} split, {len(matched.image_ids)} images, "
        f"{method}{', ' if method else ''}{100 * level:g} % intervals"
    )
    cells = table_cells(rows, signs)
    return "\n".join(
        [heading, layout(cells, fixed=cells[0].index("value")), star_told(rows), *matched.notes]
    )


def write_tables(
    folder: Path,
    groups: Sequence[Sequence[Row]],
    shown: Sequence[Row],
    matched: Matched,
    options: Options,
) -> list[Path]:
    """Write ``compare.csv`` and ``.json`` of all rows, ``.md`` and ``.tex`` of those to read.

    Args:
        folder: Where to write.
        groups: All rows.
        shown: The rows to read.
        matched: The sides.
        options: Options of the statistics.

    Returns:
        Paths of the files.
    """
    rows = [row for rows in groups for row in rows]
    paths = [folder / f"compare.{ending}" for ending in ("csv", "json", "md", "tex")]
    records = [_record(row) for row in rows]
    write_csv(paths[0], list(dict.fromkeys(key for r in records for key in r)), records)
    content = {**_facts(matched, options), "rows": records}
    write_text(paths[1], json.dumps(content, indent=2) + "\n")
    cells = table_cells(shown, Signs("↑", "↓", "±"))
    caption = _caption(matched, shown, options)
    notes = "".join(f"\n* {escaped(note)}" for note in matched.notes)
    write_text(paths[2], f"{markdown_table(cells)}\n\n{escaped(caption)}\n{notes}".rstrip() + "\n")
    write_text(paths[3], latex_table(cells, caption))
    return paths


def latex_table(cells: Sequence[Sequence[str]], caption: str) -> str:
    """Write cells, the first row being the heads, as a LaTeX table for the package booktabs."""
    names = 1 + list(cells[0]).index("run")
    head, *body = (" & ".join(_tex(cell, k >= names) for k, cell in enumerate(r)) for r in cells)
    columns = "l" * names + "r" * (len(cells[0]) - names)
    lines = [f"% {caption}", f"\\begin{{tabular}}{{{columns}}}", "\\toprule", f"{head} \\\\"]
    lines += ["\\midrule", *(f"{row} \\\\" for row in body), "\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


def _tex(cell: str, number: bool) -> str:
    text = latex_escaped(cell)
    for sign, command in _SIGNS.items():
        text = text.replace(sign, command)
    return re.sub(r"-(?=\d)", "$-$", text) if number else text


def _caption(matched: Matched, shown: Sequence[Row], options: Options) -> str:
    method = shared_method(shown)
    several = any(row.difference and row.difference.trainings for row in shown)
    seeds = ", over seeds by Student's t" if several else ""
    return (
        f"{len(matched.image_ids)} images of the split "
        f"{matched.sides[0].members[0].saved.split}{'; ' if method else ''}{method}; percent; "
        f"{100 * options.level:g} % intervals, over images by the paired bootstrap "
        f"({options.resamples} draws){seeds}; {star_told(shown)}."
    )


def _facts(matched: Matched, options: Options) -> dict[str, Any]:
    return {
        "split": matched.sides[0].members[0].saved.split,
        "images": len(matched.image_ids),
        "left_out": matched.left_out,
        **options._asdict(),
        "sides": [
            {
                "name": side.name,
                "runs": [str(m.saved.path) for m in side.members],
                "seeds": [m.seed for m in side.members],
            }
            for side in matched.sides
        ],
        "notes": matched.notes,
    }


def _record(row: Row) -> dict[str, Any]:
    """Write a row as plain values by column; nothing stands for a value that there is none of."""
    record: dict[str, Any] = {
        "metric": row.metric,
        "method": row.contender.method,
        "run": row.contender.name,
        "compared_to": row.reference.name if row.reference else None,
        "images": row.images,
        "runs": row.runs,
        "paired_seeds": row.paired if row.reference and row.runs > 1 else None,
    }
    for name in _ESTIMATES:
        found: Estimate | None = getattr(row, name)
        record |= _columns(name, found)
    return record


def _columns(name: str, found: Estimate | None) -> Mapping[str, float | None]:
    columns: dict[str, float | None] = {name: None if found is None else _plain(found.value)}
    spread = None if found is None else found.trainings
    intervals = {"images": None if found is None else found.images}
    intervals |= {
        told: getattr(spread, key) if spread else None for key, told in _INTERVALS.items()
    }
    columns[f"{name}_std"] = _plain(spread.std) if spread else None
    for key, interval in intervals.items():
        for end in ("low", "high"):
            columns[f"{name}_{key}_{end}"] = _plain(getattr(interval, end)) if interval else None
    return columns


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 8)
