"""Tables of published metrics beside those of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from learned_saliency.pipeline.comparison.estimates import Interval
from learned_saliency.pipeline.comparison.reproduced import Compared, ReproducedRow
from learned_saliency.pipeline.comparison.rows import figure_of
from learned_saliency.pipeline.reports import NOTHING, Signs


def figure_cells(row: ReproducedRow, signs: Signs) -> list[list[str]]:
    """Lay a row's metrics out as cells, in percent, the first row being the heads.

    A mean over several recipes is no figure of one, so that no difference is formed from it.
    """
    heads = ["metric", "method", "printed as", "paper", "ours", "over images", "seeds"]
    cells = [[*heads, "spread of seeds", "over seeds", "ours - paper"]]
    for each in row.compared:
        figure, value = each.figure, each.value
        mean = f", mean of {len(figure.mean_of)}" if figure.mean_of else ""
        line = [signs.column(figure.metric, figure_of(figure.metric)), figure.method]
        line += [f"{figure.author}, {figure.table}, {figure.label}{mean}", f"{figure.percent:.1f}"]
        if value is None:
            cells.append([*line, *[NOTHING] * 6])
            continue
        spread = value.trainings
        line += [f"{100 * value.value:.1f}", _interval(value.images), str(len(each.seeds))]
        line.append(f"{signs.spread}{100 * spread.std:.1f}" if spread else NOTHING)
        line.append(_interval(spread.mean) if spread else NOTHING)
        difference = _difference(each)
        cells.append([*line, NOTHING if difference is None else f"{difference:+.1f}"])
    return cells


def records(rows: Sequence[ReproducedRow]) -> list[dict[str, Any]]:
    """Write rows as plain values by column, all in percent."""
    return [_record(row, each) for row in rows for each in row.compared]


def _record(row: ReproducedRow, each: Compared) -> dict[str, Any]:
    figure, value = each.figure, each.value
    spread = value.trainings if value else None
    found: dict[str, Any] = {
        "recipe": row.row.recipe,
        "reproduction": not row.differs,
        "paper": figure.paper,
        "table": figure.table,
        "label": figure.label,
        "mean_of": " ".join(figure.mean_of),
        "method": figure.method,
        "metric": figure.metric,
        "published": figure.percent,
        "ours": _percent(value.value) if value else None,
        "seeds": len(each.seeds),
        "std": _percent(spread.std) if spread else None,
        "difference": _difference(each),
    }
    ends = {"images": value.images if value else None, "seeds": spread.mean if spread else None}
    for name, interval in ends.items():
        for end in ("low", "high"):
            found[f"{name}_{end}"] = _percent(getattr(interval, end)) if interval else None
    return found


def _difference(each: Compared) -> float | None:
    if each.value is None or each.figure.mean_of:
        return None
    return _percent(each.value.value - each.figure.percent / 100)


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(100 * value, 6)


def _interval(interval: Interval) -> str:
    if math.isnan(interval.low):
        return NOTHING
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
