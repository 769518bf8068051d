"""Published metrics beside those of the runs that have the same row."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from learned_saliency.pipeline.cli import SWEEP_RUNS, UserError
from learned_saliency.pipeline.comparison.estimates import (
    Estimate,
    Interval,
    compute_values,
    estimates,
)
from learned_saliency.pipeline.comparison.matching import scores_of
from learned_saliency.pipeline.comparison.published import PublishedFigure, PublishedRow
from learned_saliency.pipeline.comparison.recipes import Origin, find_origin, training_config
from learned_saliency.pipeline.comparison.rows import Options
from learned_saliency.pipeline.comparison.sides import read_sides
from learned_saliency.pipeline.reports import SavedEvaluation, read_saved

_RESULTS = "results.json"


class Tested(NamedTuple):
    """Run or evaluation with the row that it has.

    Attributes:
        saved: Its test.
        seed: Seed of its training; None where it is not known.
        origin: Its row.
    """

    saved: SavedEvaluation
    seed: int | None
    origin: Origin


class Compared(NamedTuple):
    """Published metric beside that of runs.

    Attributes:
        figure: The published one.
        seeds: Seeds of the trainings that have it; None for one that is not known.
        value: The metric, a fraction; None where no run has measured it.
    """

    figure: PublishedFigure
    seeds: list[int | None]
    value: Estimate | None


class ReproducedRow(NamedTuple):
    """Runs of one row, which all differ from its recipe in the same way, if at all.

    Attributes:
        row: The row.
        differs: What differs from its recipe; empty for a reproduction.
        runs: The runs.
        notes: What a reader should know besides.
        compared: The published metrics beside theirs.
    """

    row: PublishedRow
    differs: list[str]
    runs: list[Tested]
    notes: list[str]
    compared: list[Compared]


def read_tested(places: Sequence[str]) -> list[Tested]:
    """Read runs, evaluations, sweeps and folders of these, and find the row of each.

    Raises:
        UserError: If a place holds none.
    """
    found: dict[Path, SavedEvaluation] = {}
    paths = [path for place in places for path in _tests(Path(place).expanduser())]
    for path in dict.fromkeys(paths):
        found.setdefault(path.resolve(), read_saved(path))
    return [_tested(saved) for saved in found.values()]


def compare_rows(tested: Iterable[Tested], options: Options) -> list[ReproducedRow]:
    """Join the runs of each row and compare their metrics with the published ones.

    Runs that differ from the recipe are joined with those alone that differ in the same way.
    """
    groups: dict[tuple[str, ...], list[Tested]] = {}
    for each in tested:
        if each.origin.row is not None:
            key = (each.origin.row.recipe, *each.origin.differs)
            groups.setdefault(key, []).append(each)
    rows = [_compare(members, options) for _, members in sorted(groups.items())]
    return sorted(rows, key=lambda row: bool(row.differs))


def _tests(path: Path) -> Iterator[Path]:
    """Find the tested runs and evaluations at a place or below it."""
    if path.is_file() or (path / _RESULTS).is_file():
        yield path
    elif (path / SWEEP_RUNS).is_dir():
        yield from (m.saved.path for side in read_sides([str(path)]) for m in side.members)
    else:
        below = sorted(file.parent for file in path.rglob(_RESULTS))
        if not below:
            raise UserError(f"{path}: holds no tested run and no evaluation (no {_RESULTS}).")
        yield from below


def _tested(saved: SavedEvaluation) -> Tested:
    config = training_config(saved)
    seed = (config or {}).get("seed", saved.record.get("seed"))
    return Tested(saved, seed if isinstance(seed, int) else None, find_origin(saved, config))


def _compare(members: Sequence[Tested], options: Options) -> ReproducedRow:
    first = members[0].origin
    assert first.row is not None  # as in each group of `compare_rows`
    count = f"{len(members)} {'run' if len(members) == 1 else 'runs'}"
    print(f"{first.row.recipe}: comparing {count}", file=sys.stderr)
    notes = [note for member in members for note in member.origin.notes]
    ordered = sorted(members, key=lambda m: (m.seed is None, m.seed or 0))
    having: list[list[Tested]] = []
    asked: dict[tuple[str, tuple[Path, ...]], list[str]] = {}
    for figure in first.row.figures:
        found, twice = _having(ordered, figure)
        having.append(found)
        notes += twice
        asked.setdefault(_key(figure, found), []).append(figure.metric)
    values = {
        key: _estimate([m for m in ordered if m.saved.path in key[1]], key[0], metrics, options)
        for key, metrics in asked.items()
    }
    compared = [
        Compared(figure, [m.seed for m in found], values[_key(figure, found)].get(figure.metric))
        for figure, found in zip(first.row.figures, having, strict=True)
    ]
    return ReproducedRow(first.row, first.differs, ordered, list(dict.fromkeys(notes)), compared)


def _key(figure: PublishedFigure, members: Sequence[Tested]) -> tuple[str, tuple[Path, ...]]:
    return figure.method, tuple(member.saved.path for member in members)


def _having(members: Sequence[Tested], figure: PublishedFigure) -> tuple[list[Tested], list[str]]:
    """Select the runs that have measured a metric, one of each seed; tell of those left out."""
    found: dict[object, Tested] = {}
    twice = []
    for member in members:
        if figure.metric not in member.saved.results.get(figure.method, {}):
            continue
        key = member.saved.path if member.seed is None else member.seed
        if key in found:
            kept = found[key].saved.path
            twice.append(f"{member.saved.path} has the seed {key} as {kept} has, which counts")
        else:
            found[key] = member
    return list(found.values()), twice


def _estimate(
    members: Sequence[Tested], method: str, metrics: Sequence[str], options: Options
) -> dict[str, Estimate]:
    """Estimate metrics of a method, with intervals where the terms of single images allow them."""
    if not members:
        return {}
    shared = set.intersection(*(set(m.saved.scores.image_ids) for m in members))
    ids = [name for name in members[0].saved.scores.image_ids if name in shared]
    scores = [scores_of(member.saved, ids, method) for member in members]
    names = list(dict.fromkeys(metrics))
    known = [name for name in names if ids and all((method, name) in s.names() for s in scores)]
    found = {name: _without_images(members, method, name) for name in names if name not in known}
    if known:
        columns = [(method, name) for name in known]
        values = compute_values(scores, columns, options.resamples, options.seed)
        told = estimates(values.without_bias(), options.level, options.seed)
        found |= dict(zip(known, told, strict=True))
    return found


def _without_images(members: Sequence[Tested], method: str, metric: str) -> Estimate:
    """Average a metric that has no terms of single images, such as a study's."""
    values = [member.saved.results[method][metric] for member in members]
    return Estimate(float(np.mean(values)), Interval(math.nan, math.nan), None)
