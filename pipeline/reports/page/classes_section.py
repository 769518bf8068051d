"""Metrics of each class as a table of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports.classes import ClassRow
from learned_saliency.pipeline.reports.page.blocks import Block, Cell, Details, Head, Table, Text
from learned_saliency.pipeline.reports.page.metrics_section import head_of

_SHOWN = 30  # most classes that are shown without opening
_MOST = 2000  # most that a page has; the file has all


def classes_blocks(rows: Sequence[ClassRow], figures: Mapping[str, Figure]) -> list[Block]:
    """Lay out the metrics of each class; nothing for fewer than two classes."""
    if len(rows) < 2:
        return []
    told = any(row.precision is not None for row in rows)
    columns = list(rows[0].values)
    if not told and not columns:
        return []
    heads = [Head("average precision", "%", True)] if told else []
    for method, name in columns:
        heads.append(head_of(f"{method}, {figures[name].short or name}", figures[name]))
    cells = [[row.name, str(row.images), *map(Cell, _texts(row, told))] for row in rows[:_MOST]]
    note = "Box metrics have a threshold of their own in each class. All of them: classes.csv."
    table = Table("Metrics by class", ["class", "images", *heads], cells, note=note)
    blocks: list[Block] = [table]
    if len(rows) > _SHOWN:
        blocks = [Details(f"Metrics of {min(len(rows), _MOST)} classes", [table])]
    absent = sum(row.precision is not None and math.isnan(row.precision) for row in rows)
    if absent:
        verb = "has no image, and is" if absent == 1 else "have no image, and are"
        blocks.append(Text([f"{absent} of {len(rows)} classes {verb} left out of the means."]))
    return blocks


def _texts(row: ClassRow, told: bool) -> list[str]:
    own = [row.precision] if told else []
    values = [*own, *row.values.values()]
    return ["-" if v is None or math.isnan(v) else f"{100 * v:.1f}" for v in values]
