"""Table of a test's results."""

from __future__ import annotations

import math

from learned_saliency.trainers.loggers.dashboard import Report


def results_rows(report: Report) -> tuple[list[str], list[list[str | float | None]]]:
    """Build the table's columns, and per method its name and metrics; None where one has none."""
    names = list(dict.fromkeys(name for values in report.results.values() for name in values))
    rows: list[list[str | float | None]] = []
    for method, values in report.results.items():
        found = (values.get(name, math.nan) for name in names)
        rows.append([method, *(None if math.isnan(value) else value for value in found)])
    return ["method", *names], rows


def results_markdown(report: Report) -> str:
    """Write the table in Markdown."""
    columns, rows = results_rows(report)
    lines = [columns, ["---"] * len(columns)]
    for method, *values in rows:
        lines.append([str(method), *("" if v is None else f"{v:.4f}" for v in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
