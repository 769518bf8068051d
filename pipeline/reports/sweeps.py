"""The joint table of a sweep: mean and standard deviation over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports.results import Results
from learned_saliency.pipeline.reports.tables import Signs, layout, shown_figures
from learned_saliency.storage import write_csv
from learned_saliency.trainers import TEST_FIGURES

_SEED = "seed"
_ABSENT = "-"


class SweepRun(NamedTuple):
    """A run of a sweep.

    Attributes:
        words: The values of its command line, by key.
        results: Metrics by method, fractions.
    """

    words: Mapping[str, str]
    results: Results


class SweepRow(NamedTuple):
    """The runs of one combination of words, whatever their seeds, by one method.

    Attributes:
        words: The words that differ in the sweep, by key; ``seed`` is left out.
        method: Name of the method.
        runs: How many runs there are.
        mean: Means by metric, over the runs that have it; fractions.
        std: Sample standard deviations by metric; NaN of a single run.
    """

    words: dict[str, str]
    method: str
    runs: int
    mean: dict[str, float]
    std: dict[str, float]


def summarize(runs: Sequence[SweepRun]) -> list[SweepRow]:
    """Join the runs of a sweep that differ in their seed alone."""
    keys = list(dict.fromkeys(key for run in runs for key in run.words if key != _SEED))
    swept = [key for key in keys if len({run.words.get(key) for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[SweepRun]] = {}
    for run in runs:
        groups.setdefault(tuple(run.words.get(key, _ABSENT) for key in swept), []).append(run)
    rows = []
    for values, members in groups.items():
        for method in dict.fromkeys(name for run in members for name in run.results):
            mean, std = _statistics([run.results.get(method, {}) for run in members])
            words = dict(zip(swept, values, strict=True))
            rows.append(SweepRow(words, method, len(members), mean, std))
    return rows


def _statistics(runs: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    mean, std = {}, {}
    for name in dict.fromkeys(name for values in runs for name in values):
        known = [values[name] for values in runs if not math.isnan(values.get(name, math.nan))]
        mean[name] = statistics.fmean(known) if known else math.nan
        std[name] = statistics.stdev(known) if len(known) > 1 else math.nan
    return mean, std


def format_sweep(rows: Sequence[SweepRow], figures: Mapping[str, Figure] = TEST_FIGURES) -> str:
    """The joint table for the terminal, with a heading that says its unit."""
    signs = Signs.printable()
    found = dict.fromkeys(name for row in rows for name in row.mean)
    names = shown_figures(list(found), figures)
    keys = list(rows[0].words)
    heads = [*keys, "method", "runs", *(signs.column(name, figures[name]) for name in names)]
    table = [heads]
    for row in rows:
        cells = (_cell(row, name, figures[name], signs) for name in names)
        table.append([*row.words.values(), row.method, str(row.runs), *cells])
    title = f"Sweep, test split: mean {signs.spread} standard deviation over seeds"
    return f"{signs.heading(title)}\n{layout(table, fixed=len(keys) + 2)}"


def _cell(row: SweepRow, name: str, figure: Figure, signs: Signs) -> str:
    mean, std = row.mean.get(name, math.nan), row.std.get(name, math.nan)
    if math.isnan(mean):
        return _ABSENT
    spread = "" if math.isnan(std) else f" {signs.spread} {figure.shown(std)}"
    return figure.shown(mean) + spread


def write_sweep(path: Path, rows: Sequence[SweepRow]) -> None:
    """Write all metrics of the joint table as CSV, fractions: ``NAME_mean`` and ``NAME_std``."""
    names = list(dict.fromkeys(name for row in rows for name in row.mean))
    columns = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    records = []
    for row in rows:
        record: dict[str, object] = {**row.words, "method": row.method, "runs": row.runs}
        for kind, values in (("mean", row.mean), ("std", row.std)):
            record |= {f"{n}_{kind}": v for n, v in values.items() if not math.isnan(v)}
        records.append(record)
    write_csv(path, [*rows[0].words, "method", "runs", *columns], records)
