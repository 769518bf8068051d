"""Text files of a split, read to their ends: every line that cannot be used is a finding.

`read_split`, by which trainings read them, ends at the first such line.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules import (
    VALUE_LINE,
    DataError,
    count_values,
    is_integer,
    lists_masks,
    read_lines,
    read_value,
)
from learned_saliency.pipeline.data.findings import Findings
from learned_saliency.pipeline.data.tables import MaskRow, Numbers, SplitTable

_DIGITS = 18  # a longer integer may not fit into 64 bits


class _Forms(NamedTuple):
    """Forms of the lines of text files.

    Attributes:
        boxes: Line of a box.
        masks: Line of a mask.
        several: Whether an image has any number of classes, so that a box and a mask has its own,
            behind the line, and images need no lines.
        valued: Whether an image has values instead of classes.
    """

    boxes: str
    masks: str
    several: bool = False
    valued: bool = False


_PLAIN = _Forms("id,x0,y0,x1,y1", "id,mask_path,ignore_path")
_FORMS = {
    "multiclass": _PLAIN,
    "binary": _PLAIN,
    "multilabel": _Forms("id,x0,y0,x1,y1,label", "id,mask_path,ignore_path,label", several=True),
    "regression": _PLAIN._replace(valued=True),
}


def read_table(folder: Path, findings: Findings, task: str = "multiclass") -> SplitTable:
    """Read the text files of a split; see `read_split` and its like of the other tasks.

    Boxes and masks of the training split are read, too; as no training reads them, their faults
    are no more than warnings.

    Args:
        folder: The split's folder, of its name.
        findings: Collects what is wrong.
        task: What labels are, one of `datamodules.TASKS`.
    """
    forms = _FORMS[task]
    table = SplitTable(folder.name, folder, several=forms.several)
    reader = _TableReader(table, findings, forms)
    reader.read_ids()
    if forms.valued:
        reader.read_values()
    else:
        reader.read_labels()
    with findings.at_most(table.most):
        reader.read_localization()
    return table


class _TableReader:
    """Reader of the files of one split."""

    def __init__(self, table: SplitTable, findings: Findings, forms: _Forms) -> None:
        self.table, self.findings, self.forms = table, findings, forms
        self._index: dict[str, int] = {}
        self._spoilt: set[int] = set()  # images of the lines of a file that cannot be used

    def read_ids(self) -> None:
        """Read ``image_ids.txt``."""
        path = self.table.folder / "image_ids.txt"
        rows = self._rows(path, "id")
        if rows is None:
            return
        for line, (image_id,) in rows:
            if image_id in self._index:
                self._tell(path, line, f"{image_id} is listed twice; remove one.")
                continue
            self._index[image_id] = len(self._index)
            self.table.ids.append(image_id)
            self.table.lines.append(line)
        if not self._index:
            message = "the split is empty; list at least one image, one id per line."
            self.findings.add("metadata", path, message)

    def read_labels(self) -> None:
        """Read ``class_labels.txt``."""
        name, form = "class_labels.txt", "id,label"
        if not self.forms.several:
            self.table.labels = list(self.read_per_image(name, form).values())
            return
        path, seen = self.table.folder / name, set()
        for row in self._numbers(path, form) or ():
            if (row.image, row.values) in seen:
                told = f"{self.table.ids[row.image]} has label {row.values[0]} twice; remove one."
                self._tell(path, row.line, told)
            else:
                seen.add((row.image, row.values))
                self.table.labels.append(row)
        if path.is_file() and not seen:
            message = f"names no class; write a line `{form}` per class."
            self.findings.add("metadata", path, message)

    def read_values(self) -> None:
        """Read ``values.txt``, of which nothing is kept."""
        path, seen = self.table.folder / "values.txt", set()
        try:
            form = ",".join(["id", *["value"] * count_values(path)])
        except DataError as error:
            self.findings.add_refusal("metadata", path, error)
            return
        for line, (image_id, *texts) in self._rows(path, form) or ():
            wrong = next((text for text in texts if read_value(text) is None), None)
            image = self._place(path, line, image_id)
            if wrong is not None:
                told = f"{wrong[:40]!r} is no finite number; write `{VALUE_LINE}`."
                self._tell(path, line, told)
            elif image in seen:
                self._tell(path, line, f"{image_id} is listed twice; remove one.")
            seen.add(image)
        self._tell_absent(seen, path.name)

    def read_per_image(self, name: str, form: str) -> dict[int, Numbers]:
        """Read a file with one line of integers per image."""
        path, found = self.table.folder / name, {}
        rows = self._numbers(path, form)
        for row in rows or ():
            if row.image in found:
                message = f"{self.table.ids[row.image]} is listed twice; remove one."
                self._tell(path, row.line, message)
            else:
                found[row.image] = row
        if rows is not None:
            self._tell_absent(found, name)
        return found

    def read_localization(self) -> None:
        """Read boxes and masks, as far as there are any."""
        table, path = self.table, self.table.localization
        extra, sizes = table.folder / "masks.txt", table.folder / "image_sizes.txt"
        if not any(os.path.lexists(file) for file in (path, extra, sizes)):
            return
        if table.is_trained_on and not any(os.path.lexists(file) for file in (path, extra)):
            return  # sizes alone, which nothing reads
        if _lists_masks(path, self.forms.masks):
            if os.path.lexists(extra):
                message = f"{path.name} lists masks already; remove one of the two."
                self.findings.add("metadata", extra, message)
            self._read_masks(path)
            return
        rows = self._numbers(path, self.forms.boxes)
        table.boxes = list(rows or ())
        if self.forms.several:
            boxes = [
                row._replace(values=row.values[:-1], label=row.values[-1]) for row in rows or ()
            ]
            table.boxes = [row for row in boxes if self._has(path, row.line, row.image, row.label)]
        elif rows is not None:
            self._tell_absent({row.image for row in table.boxes}, path.name, "box-missing")
        table.sizes = self.read_per_image(sizes.name, "id,width,height")
        if os.path.lexists(extra):
            self._read_masks(extra)

    def _read_masks(self, path: Path) -> None:
        table, form = self.table, self.forms.masks
        table.masks, table.mask_file = [], path
        rows = self._rows(path, form)
        for line, (image_id, mask, ignore, *label) in rows or ():
            image = self._place(path, line, image_id)
            if not mask and not (label and ignore):
                self._tell(path, line, f"the mask's path is empty; write `{form}`.")
            elif label and not _is_number(label[0]):
                self._tell(path, line, f"{label[0][:40]!r} is no label; write `{form}`.")
            elif image is not None:
                row = MaskRow(line, image, mask, ignore, *map(int, label))
                if self._has(path, line, image, row.label):
                    table.masks.append(row)
        if rows is not None and not self.forms.several:
            self._tell_absent({row.image for row in table.masks}, path.name)

    def _has(self, path: Path, line: int, image: int, label: int | None) -> bool:
        """Tell whether an image has the class of a line; one that it lacks is a finding."""
        if label is None or label in self.table.classes[image]:
            return True
        name = self.table.ids[image]
        told = (
            f"{name} has no label {label} in class_labels.txt; add it there or correct the label."
        )
        self._tell(path, line, told)
        return False

    def _numbers(self, path: Path, form: str) -> list[Numbers] | None:
        """Read lines of an id and integers; None where the file cannot be read."""
        rows = self._rows(path, form)
        if rows is None:
            return None
        found = []
        for line, (image_id, *fields) in rows:
            wrong = next((text for text in fields if not _is_number(text)), None)
            if wrong is not None:
                message = f"{wrong[:40]!r} is not an integer; write `{form}` in integers."
                self._tell(path, line, message)
                self._spoilt.add(self._index.get(image_id, -1))
            elif (image := self._place(path, line, image_id)) is not None:
                found.append(Numbers(line, image, tuple(map(int, fields))))
        return found

    def _rows(self, path: Path, form: str) -> Iterator[tuple[int, Sequence[str]]] | None:
        """Split the lines of a file into fields; None where it cannot be read."""
        self._spoilt.clear()
        try:
            lines = read_lines(path)
        except DataError as error:
            self.findings.add_refusal("metadata", path, error)
            return None
        return self._split(path, lines, form)

    def _split(
        self, path: Path, lines: list[str], form: str
    ) -> Iterator[tuple[int, Sequence[str]]]:
        commas = form.count(",")
        for number, line in enumerate(lines, start=1):
            if not (line := line.strip()):
                continue
            fields = [text.strip() for text in line.rsplit(",", commas)]
            if len(fields) <= commas:
                message = f"{len(fields)} field(s) instead of {commas + 1}; write `{form}`."
                self._tell(path, number, message)
            elif not fields[0]:
                self._tell(path, number, f"the first field is empty; write `{form}`.")
            else:
                yield number, fields

    def _place(self, path: Path, line: int, image_id: str) -> int | None:
        """Look an id up; one that ``image_ids.txt`` lacks is a finding."""
        if (image := self._index.get(image_id)) is None:
            message = f"{image_id!r} is not in image_ids.txt; add it there or remove it here."
            self._tell(path, line, message)
        return image

    def _tell_absent(self, found: Container[int], name: str, kind: str = "metadata") -> None:
        path = self.table.folder / "image_ids.txt"
        for image, image_id in enumerate(self.table.ids):
            if image not in found and image not in self._spoilt:
                message = f"{image_id} has no line in {name}; add one or remove it here."
                self.findings.add(kind, path, message, self.table.lines[image])

    def _tell(self, path: Path, line: int, message: str) -> None:
        self.findings.add("metadata", path, message, line)


def _is_number(text: str) -> bool:
    return is_integer(text) and len(text) <= _DIGITS


def _lists_masks(path: Path, form: str) -> bool:
    """Tell whether a list holds masks, by its first line; False where it cannot be read."""
    try:
        return lists_masks(read_lines(path), form)
    except DataError:
        return False
