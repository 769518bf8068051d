"""CSV tables of images and their classes, any number per image."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules.readers.boxtables import IMAGE_COLUMNS
from learned_saliency.datamodules.readers.scanning import SPELLINGS
from learned_saliency.datamodules.textfile import DataError, read_text

_LABEL_COLUMNS = ("labels", "label", "classes", "class", "tags", "finding labels")
_ABSENT, _PRESENT, _UNCERTAIN = "absent", "present", "uncertain"
#: What may stand for uncertain answers, besides None for a refusal.
UNCERTAIN = (_ABSENT, _PRESENT)
_ANSWERS = {"": _ABSENT, "0": _ABSENT, "1": _PRESENT, "-1": _UNCERTAIN}


class Columns(NamedTuple):
    """Names of columns; None for what the header tells by itself.

    Attributes:
        image: Column of the images' names.
        labels: Column of names of classes.
        classes: Columns of one class each.
        split: Column of splits; None for no such column.
        group: Column of groups that are not separated; None for no such column.
    """

    image: str | None = None
    labels: str | None = None
    classes: Sequence[str] | None = None
    split: str | None = None
    group: str | None = None


class LabelRow(NamedTuple):
    """Row of a table.

    Attributes:
        image: Name of the image.
        classes: Names of its classes.
        split: Its split; empty without one.
        group: Its group; empty without one.
        where: Place of the row, for messages.
    """

    image: str
    classes: frozenset[str]
    split: str
    group: str
    where: str


def read_label_table(
    path: Path, columns: Columns, *, separator: str = "|", uncertain: str | None = None
) -> tuple[list[str], list[LabelRow]]:
    """Read a table with a header, a row per image.

    Either one column names the classes of an image, ``cat|dog``, empty for none; or there is a
    column per class with 1 where the image has it and 0 or nothing where it does not. -1 stands for
    an answer that nobody is certain of.

    Args:
        path: The CSV file, with commas, semicolons or tabulators.
        columns: Names of its columns, in any case.
        separator: Text between names of classes.
        uncertain: What -1 counts as, ``"absent"`` or ``"present"``; None refuses it.

    Returns:
        The names of the classes, in the order of the columns or sorted, and the rows.

    Raises:
        DataError: If the header lacks a column, or a row has no image, too many fields, an answer
            that is none, or no such split.
    """
    text = read_text(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        names = [name.strip() for name in next(reader, [])]
        table = _Table(path, names, columns, separator, uncertain)
        rows = [
            table.read(reader.line_num, row)
            for row in reader
            if any(field.strip() for field in row)
        ]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; correct it.") from None
    if not rows:
        raise DataError(f"{path}: lists no image; write a row per image below the header.")
    classes = table.classes or sorted(set().union(*(row.classes for row in rows)))
    if not classes:
        raise DataError(f"{path}: names no class in its column {table.labels!r}; write them.")
    return classes, rows


class _Table:
    """Header of a table, by which rows are read.

    Attributes:
        classes: Names of the columns of one class each; empty where a column names classes.
        labels: The column that names classes; None where there is none.
    """

    def __init__(
        self,
        path: Path,
        names: list[str],
        columns: Columns,
        separator: str,
        uncertain: str | None,
    ) -> None:
        self.path, self._separator, self._uncertain = path, separator, uncertain
        self._names = names
        lowered = [name.lower() for name in names]
        twice = next((n for k, n in enumerate(lowered) if n and n in lowered[:k]), None)
        if twice is not None:
            raise DataError(f"{path}, line 1: has the column {twice!r} twice; rename one.")
        self._places = {name: place for place, name in enumerate(lowered)}
        self._image = self._find("image_column", columns.image, ("id", *IMAGE_COLUMNS))
        if self._image is None:
            raise DataError(
                f"{path}, line 1: has no column of images, such as image,labels; write a header, or"
                " name the column by data.reader.image_column."
            )
        self._split = self._find("split_column", columns.split)
        self._group = self._find("group_column", columns.group)
        place = None
        if columns.classes is None:
            place = self._find("label_column", columns.labels, _LABEL_COLUMNS)
        self._label, self.labels = place, None if place is None else names[place]
        self.classes, self._answers = self._class_columns(columns.classes)

    def _find(self, option: str, given: str | None, others: Sequence[str] = ()) -> int | None:
        """Find a column by its given name, or else by other ones; None where there is none."""
        if given is None:
            return next((self._places[name] for name in others if name in self._places), None)
        if given.strip().lower() not in self._places:
            raise DataError(
                f"{self.path}, line 1: has no column {given!r}; correct data.reader.{option}."
            )
        return self._places[given.strip().lower()]

    def _class_columns(self, given: Sequence[str] | None) -> tuple[list[str], list[int]]:
        """Find the columns of one class each."""
        if self._label is not None:
            return [], []
        if given is not None:
            places = [self._find("class_columns", name) for name in given]
        else:
            taken = (self._image, self._split, self._group)
            places = [k for k, name in enumerate(self._names) if name and k not in taken]
        if not places:
            raise DataError(
                f"{self.path}, line 1: has no column of classes; write one of the name labels, or a"
                " column per class."
            )
        return [self._names[place] for place in places], places

    def read(self, line: int, row: Sequence[str]) -> LabelRow:
        """Read a row."""
        where = f"{self.path}, line {line}"
        if len(row) != len(self._names):
            raise DataError(
                f"{where}: {len(row)} fields instead of {len(self._names)}; correct the line."
            )
        fields = [field.strip() for field in row]
        image = fields[self._image]
        if not image:
            raise DataError(f"{where}: the name of the image is missing; write it.")
        split = "" if self._split is None else fields[self._split].lower()
        if self._split is not None and split not in SPELLINGS:
            raise DataError(f"{where}: {split[:40]!r} is no split; write train, val or test.")
        group = "" if self._group is None else fields[self._group]
        return LabelRow(
            image, self._classes_of(fields, where), SPELLINGS.get(split, ""), group, where
        )

    def _classes_of(self, fields: Sequence[str], where: str) -> frozenset[str]:
        if self._label is not None:
            words = fields[self._label].split(self._separator)
            return frozenset(" ".join(word.split()) for word in words if word.strip())
        found = []
        for name, place in zip(self.classes, self._answers, strict=True):
            text = fields[place]
            plain = text[:-2] if text.endswith(".0") else text
            answer = _ANSWERS.get(plain)
            if answer is None:
                raise DataError(
                    f"{where}: {text[:40]!r} in the column {name!r} is neither 1, 0, -1 nor empty;"
                    " correct it, or name the columns of classes by data.reader.class_columns."
                )
            if answer == _UNCERTAIN:
                answer = self._uncertain
            if answer is None:
                raise DataError(
                    f"{where}: -1 in the column {name!r} is no certain answer; choose what it"
                    " counts as by data.reader.uncertain=absent or present."
                )
            found += [name] * (answer == _PRESENT)
        return frozenset(found)
