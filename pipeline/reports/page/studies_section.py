"""Pictures and small tables of studies, and other pictures of a folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from learned_saliency.pipeline.reports.image_scores import TABLE_FILE
from learned_saliency.pipeline.reports.page.blocks import Block, Details, Items, Picture, Table
from learned_saliency.pipeline.reports.page.pictures import data_uri
from learned_saliency.trainers import METRICS_FILE

_NOT_OF_STUDIES = {TABLE_FILE, "intervals.csv", "results.csv", METRICS_FILE}
_CURVES = {"curves", "test_curves"}  # drawn anew by the page
_SHEETS = {"maps", "test_maps"}
_EPOCH = "epoch_"  # pictures of the training
_MOST_ROWS = 200
_MOST_BYTES = 2**22  # size of all pictures together


def studies_blocks(folder: Path, gallery: bool) -> list[Block]:
    """Collect the pictures of studies, and their tables to open.

    Args:
        folder: Folder of the evaluation.
        gallery: Whether the page has a gallery, so that the sheet of maps is left out.
    """
    hidden = _CURVES | (_SHEETS if gallery else set())
    pictures = [
        path
        for path in sorted(folder.glob("pictures/*.png"))
        if path.stem not in hidden and not path.stem.startswith(_EPOCH)
    ]
    tables = [path for path in sorted(folder.glob("*.csv")) if path.name not in _NOT_OF_STUDIES]
    blocks, left_out, size = [], [], 0
    for path in pictures:
        content = path.read_bytes()
        if size + len(content) > _MOST_BYTES:
            left_out.append(path.name)
            continue
        size += len(content)
        alt = _alt(path.stem, [table.stem for table in tables])
        blocks.append(Picture(data_uri(content, "png"), alt, path.stem.replace("_", " ")))
    if left_out:
        said = (
            f"Pictures that would make this page too large lie in pictures/: {', '.join(left_out)}."
        )
        blocks.append(Items([said]))
    return [*blocks, *(Details(f"Table {path.name}", [_table(path)]) for path in tables)]


def _alt(stem: str, tables: Sequence[str]) -> str:
    """Describe a picture by the study that drew it."""
    if stem in _SHEETS:
        return "Some tested images with their maps side by side"
    own = [table for table in tables if stem.startswith(table)]
    where = f"; its numbers are in the table {max(own, key=len)}.csv" if own else ""
    return f"Plot {stem.replace('_', ' ')} of a study{where}"


def _table(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        head = next(reader, [])
        rows = [row for row in islice(reader, _MOST_ROWS + 1) if row]
    note = ""
    if len(rows) > _MOST_ROWS:
        note = f"The first {_MOST_ROWS} rows; all are in {path.name}."
    width = max(len(head), *map(len, rows), 1) if rows else max(len(head), 1)
    lines = [[*row, *[""] * (width - len(row))] for row in [head, *rows[:_MOST_ROWS]]]
    return Table(f"Rows of {path.name}", lines[0], lines[1:], note=note)
