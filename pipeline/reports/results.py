"""The table of a run's metrics: on the terminal, as JSON and as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports.tables import NOTHING, Signs, layout, shown_figures
from learned_saliency.storage import write_csv, write_text
from learned_saliency.trainers import TEST_FIGURES

Results = Mapping[str, Mapping[str, float]]


def write_results(
    folder: Path, results: Results, record: Mapping[str, Any], split: str = "test"
) -> list[Path]:
    """Write ``results.json`` and ``results.csv``.

    Args:
        folder: The run's folder.
        results: Figures by method, fractions.
        record: What else belongs to the figures: what chose them, which checkpoint.
        split: Of which the figures are.

    Returns:
        The two paths.
    """
    finite = {
        method: {name: None if math.isnan(value) else value for name, value in values.items()}
        for method, values in results.items()
    }
    as_json, as_csv = folder / "results.json", folder / "results.csv"
    names = list(dict.fromkeys(name for values in results.values() for name in values))
    rows = ({"method": method, **values} for method, values in finite.items())
    write_csv(as_csv, ["method", *names], rows)
    content = json.dumps({split: finite, **record}, indent=2) + "\n"
    write_text(as_json, content, durable=True)  # the last: it says that the test is done
    return [as_json, as_csv]


def read_results(folder: Path, split: str = "test") -> Results:
    """Read the figures of a ``results.json``; NaN stands for what has no value."""
    return restored(json.loads((folder / "results.json").read_text(encoding="utf-8"))[split])


def restored(results: Mapping[str, Mapping[str, float | None]]) -> Results:
    """Put NaN, which JSON lacks, in the place of null."""
    return {
        method: {name: math.nan if value is None else value for name, value in values.items()}
        for method, values in results.items()
    }


def figures_record(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Record the declarations of metrics that only this evaluation has, such as its studies'.

    Returns:
        ``figures`` with the fields of each `Figure` by the metric's name; nothing without any.
    """
    own = {name: figure for name, figure in figures.items() if name not in TEST_FIGURES}
    told = {name: f._asdict() | {"needs": sorted(f.needs)} for name, f in own.items()}
    return {"figures": told} if told else {}


def recorded_figures(record: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the declarations of all metrics of an evaluation; see `figures_record`."""
    own = record.get("figures", {})
    return TEST_FIGURES | {
        name: Figure(**fields | {"needs": frozenset(fields["needs"])})
        for name, fields in own.items()
    }


def table_rows(
    results: Results, figures: Mapping[str, Figure] = TEST_FIGURES, signs: Signs | None = None
) -> list[list[str]]:
    """The headline figures, fractions in percent: a row of names, then one row a method.

    Args:
        results: Figures by method, fractions.
        figures: What is declared of them: which are headlines, which lead, what they are called
            in a narrow table. The others, and what nobody declared, are left to the files.
        signs: Put behind the names for their better direction; None for none.
    """
    found = dict.fromkeys(name for values in results.values() for name in values)
    names = shown_figures(list(found), figures)
    if signs is None:
        heads = [figures[name].head(name) for name in names]
    else:
        heads = [signs.column(name, figures[name]) for name in names]
    rows = [["", *heads]]
    for method, values in results.items():
        cells = {name: values.get(name, math.nan) for name in names}
        shown = (NOTHING if math.isnan(v) else figures[name].shown(v) for name, v in cells.items())
        rows.append([method, *shown])
    return rows


def format_table(
    results: Results, figures: Mapping[str, Figure] = TEST_FIGURES, title: str | None = None
) -> str:
    """The figures as a table for the terminal; see `table_rows`.

    Args:
        results: Figures by method, fractions.
        figures: What is declared of them.
        title: What the figures are of: a line above the table says this, the unit and what the
            signs mean; None for the table alone.
    """
    signs = Signs.printable()
    table = layout(table_rows(results, figures, signs))
    return table if title is None else f"{signs.heading(title)}\n{table}"
