"""The work of ``learned-saliency guard``, and what it prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.comparison.guard_ci import (
    harmless,
    verdict_line,
    write_junit,
    write_summary,
)
from learned_saliency.pipeline.comparison.guard_pairs import METRICS, pair
from learned_saliency.pipeline.comparison.guard_places import look
from learned_saliency.pipeline.comparison.guard_report import (
    Report,
    as_json,
    as_markdown,
    as_text,
    sentence,
)
from learned_saliency.pipeline.comparison.guard_verdict import Limits, judge
from learned_saliency.pipeline.reports import SavedEvaluation, read_saved
from learned_saliency.storage import write_text


def run(config: DictConfig) -> None:
    """Judge two evaluations; print the report and the line that continuous integration shows.

    Raises:
        UserError: If the evaluations cannot be read or do not belong together.
        SystemExit: With the code 1, if evidence moved off the objects.
    """
    folder = Path(config.output_dir).expanduser().absolute()
    page, told = folder / "guard.md", folder / "guard.json"
    tests = None if config.junit is None else Path(config.junit).expanduser().absolute()
    written = [path for path in (page, told, tests) if path is not None]
    for path in written:
        path.unlink(missing_ok=True)  # a verdict of other networks would be taken for this one's
    limits = Limits(config.tolerance, config.class_tolerance, config.level, config.per_class)
    old, new = read_saved(config.old), read_saved(config.new)
    report = guard(old, new, limits, config.method, config.metric)
    moved = bool(report.verdict.moved)
    markdown = as_markdown(report, "FAILED" if moved else "passed")
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, markdown)
    write_text(told, as_json(report))
    if tests is not None:
        write_junit(tests, report)
    write_summary(markdown, os.environ)
    print(f"\n{harmless(as_text(report))}\n")
    print("\n".join(printable(str(path)) for path in written))
    print(verdict_line(moved, sentence(report), os.environ), flush=True)
    if moved:
        sys.exit(1)


def guard(
    old: SavedEvaluation,
    new: SavedEvaluation,
    limits: Limits,
    method: str | None = None,
    metric: str = "auto",
) -> Report:
    """Judge whether evidence moved off the objects from one evaluation to another.

    Args:
        old: Evaluation of the network so far.
        new: Evaluation, on the same images, of the one that may take its place.
        limits: Limits of what is allowed.
        method: Name of the method whose maps are judged; see `pair`.
        metric: Metric that tells the share of mass on the object; see `pair`.

    Raises:
        UserError: If the evaluations do not belong together; see `pair` and `look`.
    """
    pairs = pair(old, new, method, metric)
    seen = look(old, new, pairs.method, masks=pairs.metric == METRICS[0])
    verdict = judge(pairs.old, pairs.new, pairs.labels, limits)
    return Report(str(old.path), str(new.path), pairs, limits, verdict, seen)
