"""The table of a run's metrics: on the terminal, as JSON and as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learned_saliency.metrics import Figure
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
    write_text(as_json, json.dumps({split: finite, **record}, indent=2) + "\n")
    names = list(dict.fromkeys(name for values in results.values() for name in values))
    rows = ({"method": method, **values} for method, values in finite.items())
    write_csv(as_csv, ["method", *names], rows)
    return [as_json, as_csv]


def table_rows(results: Results, figures: Mapping[str, Figure] = TEST_FIGURES) -> list[list[str]]:
    """The headline figures in percent: a row of names, then one row a method.

    Args:
        results: Figures by method, fractions.
        figures: What is declared of them: which are headlines, which lead, what they are called
            in a narrow table. The others, and what nobody declared, are left to the files.
    """
    found = dict.fromkeys(name for values in results.values() for name in values)
    names = [name for name in found if name in figures and figures[name].headline]
    names.sort(key=lambda name: not figures[name].leads)
    rows = [["", *(figures[name].short or name for name in names)]]
    for method, values in results.items():
        cells = [values.get(name, math.nan) for name in names]
        rows.append([method, *("-" if math.isnan(v) else f"{100 * v:.1f}" for v in cells)])
    return rows


def format_table(results: Results, figures: Mapping[str, Figure] = TEST_FIGURES) -> str:
    """The figures as a table for the terminal; see `table_rows`."""
    rows = table_rows(results, figures)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
