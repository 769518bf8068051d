"""Text files of a split, read to their ends: every line that cannot be used is a finding.

`read_split`, by which trainings read them, ends at the first such line.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules import DataError, is_integer, read_lines
from learned_saliency.pipeline.data.findings import Findings, Severity

_DIGITS = 18  # a longer integer may not fit into 64 bits


class Numbers(NamedTuple):
    """Integers of a line.

    Attributes:
        line: Number of the line, from 1.
        image: Place of the line's image in the list of ids.
        values: The integers.
    """

    line: int
    image: int
    values: tuple[int, ...]


class MaskRow(NamedTuple):
    """Line of a list of masks.

    Attributes:
        line: Number of the line, from 1.
        image: Place of the line's image in the list of ids.
        mask: Path of the mask, relative to the root of the masks.
        ignore: Path of the ignore mask, likewise; empty without one.
    """

    line: int
    image: int
    mask: str
    ignore: str


@dataclass
class SplitTable:
    """Usable lines of the text files of a split.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        folder: The split's folder.
        ids: Ids of the images.
        lines: Their lines in ``image_ids.txt``.
        labels: Line and label of each image that has one, by the image's place in ``ids``.
        sizes: Likewise width and height; None without boxes.
        boxes: The boxes; None where the split has none.
        masks: The masks; None where the split has none.
        mask_file: The text file that lists the masks.
    """

    name: str
    folder: Path
    ids: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    labels: dict[int, Numbers] = field(default_factory=dict)
    sizes: dict[int, Numbers] | None = None
    boxes: list[Numbers] | None = None
    masks: list[MaskRow] | None = None
    mask_file: Path | None = None

    @property
    def is_trained_on(self) -> bool:
        """True for the split of which trainings read images and labels alone."""
        return self.name == "train"

    @property
    def most(self) -> Severity:
        """Severity of the faults of its boxes and masks, at most."""
        return Severity.WARNING if self.is_trained_on else Severity.ERROR

    @property
    def localization(self) -> Path:
        """Text file of its boxes, or of its masks where it has no boxes."""
        return self.folder / "localization.txt"


def read_table(folder: Path, findings: Findings) -> SplitTable:
    """Read the text files of a split; see `read_split` for their format.

    Boxes and masks of the training split are read, too; as no training reads them, their faults
    are no more than warnings.

    Args:
        folder: The split's folder, of its name.
        findings: Collects what is wrong.
    """
    table = SplitTable(folder.name, folder)
    reader = _TableReader(table, findings)
    reader.read_ids()
    table.labels = reader.read_per_image("class_labels.txt", "id,label")
    with findings.at_most(table.most):
        reader.read_localization()
    return table


class _TableReader:
    """Reader of the files of one split."""

    def __init__(self, table: SplitTable, findings: Findings) -> None:
        self.table, self.findings = table, findings
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
        if _lists_masks(path):
            if os.path.lexists(extra):
                message = f"{path.name} lists masks already; remove one of the two."
                self.findings.add("metadata", extra, message)
            self._read_masks(path)
            return
        rows = self._numbers(path, "id,x0,y0,x1,y1")
        table.boxes = list(rows or ())
        if rows is not None:
            self._tell_absent({row.image for row in table.boxes}, path.name, "box-missing")
        table.sizes = self.read_per_image(sizes.name, "id,width,height")
        if os.path.lexists(extra):
            self._read_masks(extra)

    def _read_masks(self, path: Path) -> None:
        table, form = self.table, "id,mask_path,ignore_path"
        table.masks, table.mask_file = [], path
        rows = self._rows(path, form)
        for line, (image_id, mask, ignore) in rows or ():
            if not mask:
                self._tell(path, line, f"the mask's path is empty; write `{form}`.")
            elif (image := self._place(path, line, image_id)) is not None:
                table.masks.append(MaskRow(line, image, mask, ignore))
        if rows is not None:
            self._tell_absent({row.image for row in table.masks}, path.name)

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


def _lists_masks(path: Path) -> bool:
    """Tell whether a list holds masks, by its first line; False where it cannot be read."""
    try:
        first = next((line.strip() for line in read_lines(path) if line.strip()), "")
    except DataError:
        return False
    fields = first.rsplit(",", 2)
    return len(fields) == 3 and not is_integer(fields[1]) and first.count(",") < 4
