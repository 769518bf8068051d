"""Page of an evaluation or a run, out of what lies in its folder alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from learned_saliency.pipeline.reports.bootstrap import read_intervals
from learned_saliency.pipeline.reports.classes import ClassRow, class_rows, write_classes
from learned_saliency.pipeline.reports.methods_table import methods_table, write_tables
from learned_saliency.pipeline.reports.page.blocks import Block, Items, Section
from learned_saliency.pipeline.reports.page.classes_section import classes_blocks
from learned_saliency.pipeline.reports.page.curves_section import test_charts, training_charts
from learned_saliency.pipeline.reports.page.folder import read_folder, read_names
from learned_saliency.pipeline.reports.page.gallery_section import gallery_block
from learned_saliency.pipeline.reports.page.metrics_section import metrics_blocks
from learned_saliency.pipeline.reports.page.origin import (
    describe_choices,
    find_title,
    find_warnings,
    list_facts,
)
from learned_saliency.pipeline.reports.page.rendering import render_page
from learned_saliency.pipeline.reports.page.studies_section import studies_blocks
from learned_saliency.pipeline.reports.results import recorded_figures
from learned_saliency.pipeline.reports.saved import SavedEvaluation
from learned_saliency.storage import write_text

PAGE_FILE = "report.html"


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of an evaluation or a tested run, anew if it is there.

    Raises:
        UserError: If the folder's files are not as evaluations write them.
        OSError: If a file cannot be read or written.
        ValueError: If the results are not as evaluations write them.
    """
    saved = read_folder(folder)
    return _write_page(saved, _class_rows(saved))


def write_report_files(folder: Path) -> list[Path]:
    """Write the page and the tables beside it; a failure is told, and what is there stays.

    Args:
        folder: Folder of an evaluation whose other files are written.

    Returns:
        Paths of ``report.html``, ``table.md`` and ``table.tex``, and of ``classes.csv`` where
        classes are known; nothing where it failed.
    """
    try:
        saved = read_folder(folder)
        figures = recorded_figures(saved.record)
        table = methods_table(saved.results, figures, read_intervals(folder))
        rows = _class_rows(saved)
        classes = write_classes(folder, rows)
        further = [] if classes is None else [classes]
        return [_write_page(saved, rows), *write_tables(folder, table), *further]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        warnings.warn(f"{folder}: report.html was not written ({reason})", stacklevel=2)
        return []


def _write_page(saved: SavedEvaluation, classes: Sequence[ClassRow]) -> Path:
    names, path = read_names(saved.path), saved.path / PAGE_FILE
    title, facts = find_title(saved, names), list_facts(saved, names)
    write_text(path, render_page(title, _sections(saved, classes), facts=facts))
    return path


def _class_rows(saved: SavedEvaluation) -> list[ClassRow]:
    names = saved.gallery().class_names if saved.rows else []
    return class_rows(saved, recorded_figures(saved.record), names)


def _sections(saved: SavedEvaluation, classes: Sequence[ClassRow]) -> list[Section]:
    folder, figures = saved.path, recorded_figures(saved.record)
    intervals = read_intervals(folder)
    table = methods_table(saved.results, figures, intervals)
    counts, shown = saved.record.get("tested_on", {}), len(saved.scores.image_ids)
    tested = int(counts.get("samples", counts.get("images", shown)))
    gallery = gallery_block(saved.gallery(), saved.scores, figures, tested)
    noted: list[Block] = []
    if said := find_warnings(saved, figures, intervals):
        noted.append(Items(said, warning=True))
    return [
        Section("Metrics", [*noted, *metrics_blocks(saved.results, figures, intervals, table)]),
        Section("Classes", classes_blocks(classes, figures)),
        Section("What was chosen on what", describe_choices(saved)),
        Section("Curves", [*test_charts(saved.scores, saved.results), *training_charts(folder)]),
        Section("Studies and pictures", studies_blocks(folder, gallery is not None)),
        Section("Images", [] if gallery is None else [gallery]),
    ]
