"""Rows of metadata from the samples of shards: labels, boxes and names of masks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learned_saliency.datamodules.readers.writing import SplitRows
from learned_saliency.datamodules.shards import (
    IMAGE_ENDINGS,
    Member,
    Sample,
    image_of,
    member_id,
    note_of,
    read_samples,
)
from learned_saliency.datamodules.textfile import DataError

_MASK = re.compile(rf"(mask|ignore)(?:\.(\d{{1,6}}))?\.(?:{'|'.join(IMAGE_ENDINGS)})")
_LONGEST = 1 << 24  # bytes of a class or JSON member
_INTEGER = re.compile(r"[+-]?\d{1,18}")


class ShardRow(NamedTuple):
    """Facts about a sample.

    Attributes:
        image_id: Its shard and the member of its image.
        split: Its split, as its shard is named.
        label: Its class, by number or name.
        class_name: Name of the class beside its number; empty where it is not told.
        size: Width and height in pixels; None where they are not told.
        boxes: Boxes x0 y0 x1 y1.
        masks: Ids of the masks of its instances.
        ignores: Ids of the masks of what counts for nothing.
    """

    image_id: str
    split: str
    label: int | str
    class_name: str
    size: tuple[int, int] | None
    boxes: list[tuple[int, int, int, int]]
    masks: list[str]
    ignores: list[str]


class ShardScan(NamedTuple):
    """Result of reading a shard.

    Attributes:
        rows: Its samples, without those that have a fault.
        faults: Sentences about the others, each of which begins with shard and member.
    """

    rows: list[ShardRow]
    faults: list[str]

    @classmethod
    def of(
        cls, path: Path, shard: str, split: str, *, image: str | None, label: str | None
    ) -> ShardScan:
        """Read the samples of a shard.

        Args:
            path: The file.
            shard: Its name, relative to the root.
            split: Its split.
            image: See `WebDatasetReader`.
            label: See `WebDatasetReader`.
        """
        rows, faults = [], []
        try:
            with path.open("rb") as file:
                for sample in read_samples(path):
                    reading = _Reading(path, sample, lambda m: _content(file, m))
                    try:
                        rows.append(reading.row(shard, split, image, label))
                    except DataError as error:
                        faults.append(str(error))
        except DataError as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{path}: cannot be read ({error.strerror or error}).")
        if not rows and not faults:
            faults.append(f"{path}: holds no samples; remove it, or write it anew.")
        return cls(rows, faults)


class _Reading(NamedTuple):
    """A sample that is being read."""

    path: Path
    sample: Sample
    read: Callable[[Member], bytes]

    def row(self, shard: str, split: str, image: str | None, label: str | None) -> ShardRow:
        """Read all that is known of the sample.

        Raises:
            DataError: If it has no image or class, or its JSON member is wrong.
        """
        found = image_of(self.path, self.sample, image)
        if found is None:
            first = next(iter(self.sample.members.values())).name
            wanted = f"whose name ends in .{image}" if image else "of a kind that is read"
            raise DataError(
                f"{self.path}: member {first}: the sample has no image {wanted}; add it, or remove "
                "the sample."
            )
        note = note_of(self.path, self.sample, lambda member: json.loads(self.read(member)))
        place = f"{self.path}: member {self.sample.members.get('json', found).name}"
        size = _size(note, place)
        marks = {"mask": [], "ignore": []}
        for ending, member in self.sample.members.items():
            if kind := _MASK.fullmatch(ending):
                marks[kind[1]].append((int(kind[2] or 0), member_id(shard, member.name)))
        masks, ignores = ([name for _, name in sorted(marks[kind])] for kind in ("mask", "ignore"))
        if len(ignores) > len(masks):
            raise DataError(
                f"{self.path}: member {ignores[-1].rpartition('.tar/')[2]}: the sample has more "
                "ignore masks than masks; join them."
            )
        return ShardRow(
            member_id(shard, found.name),
            split,
            self._label(found, note, label),
            str(note.get("class", "")),
            size,
            _boxes(note, size, place),
            masks,
            ignores,
        )

    def _label(self, image: Member, note: Mapping[str, Any], key: str | None) -> int | str:
        """Read the class of the sample: of its ``.cls``, or of a key of its JSON."""
        member = self.sample.members.get("cls") if key is None else None
        if member is not None:
            try:
                label: Any = self.read(member).decode().strip()
            except ValueError:  # no text, or much too long
                label = ""
            place = member.name
        else:
            label = note.get(key or "label", note.get("class", "") if key is None else "")
            place = image.name
        if isinstance(label, str) and _INTEGER.fullmatch(label):
            label = int(label)
        if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
            wanted = ".cls or `label` in .json" if key is None else f"`{key}` in .json"
            raise DataError(
                f"{self.path}: member {place}: the sample has no class, a number or a name in "
                f"{wanted}; add it."
            )
        return label


def rows_of_split(
    split: str,
    rows: Sequence[ShardRow],
    labels: Sequence[int],
    size_of: Callable[[str], tuple[int, int]],
) -> SplitRows:
    """Make the text files of a split; those for training hold labels alone.

    Args:
        split: Its name.
        rows: Its samples.
        labels: Their classes.
        size_of: Reads width and height of an image by its id, where its sample does not tell.
    """
    ids = [row.image_id for row in rows]
    if split == "train":
        return SplitRows(ids, labels)
    masks = [
        (row.image_id, mask, row.ignores[i] if i < len(row.ignores) else "")
        for row in rows
        for i, mask in enumerate(row.masks)
    ]
    boxes = [(row.image_id, box) for row in rows for box in row.boxes]
    if not boxes:
        return SplitRows(ids, labels, masks=masks or None)
    sizes = [row.size or size_of(row.image_id) for row in rows]
    corners = np.array([box for _, box in boxes], np.int64)
    named = [image_id for image_id, _ in boxes]
    return SplitRows(ids, labels, np.array(sizes), corners, named, masks or None)


def _content(file: Any, member: Member) -> bytes:
    if member.size > _LONGEST:
        raise ValueError(f"{member.size} bytes")
    file.seek(member.offset)
    return file.read(member.size)


def _size(note: Mapping[str, Any], place: str) -> tuple[int, int] | None:
    sides = note.get("width"), note.get("height")
    if sides == (None, None):
        return None
    if not all(isinstance(side, int) and 0 < side < 1 << 31 for side in sides):
        raise DataError(f"{place}: width and height are no whole numbers above 0; correct them.")
    return sides


def _boxes(
    note: Mapping[str, Any], size: tuple[int, int] | None, place: str
) -> list[tuple[int, int, int, int]]:
    """Read boxes, truncated to integers as the benchmark does."""
    given = note.get("boxes")
    if given is None:
        return []
    found = []
    for box in given if isinstance(given, list) else [given]:
        numbers = isinstance(box, list) and len(box) == 4
        if not numbers or not all(_is_number(value) for value in box):
            raise DataError(f"{place}: the box {box!r:.60} is not four numbers; correct it.")
        x0, y0, x1, y1 = map(int, box)
        told = ",".join(f"{value:g}" for value in box)
        if x0 > x1 or y0 > y1:
            raise DataError(f"{place}: the box {told} is inverted; write x0, y0, x1, y1.")
        width, height = size or (math.inf, math.inf)
        if min(x0, y0) < 0 or x0 >= width or y0 >= height or x1 > width or y1 > height:
            raise DataError(f"{place}: the box {told} reaches out of the image; correct it.")
        found.append((x0, y0, x1, y1))
    return found


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and abs(value) < 1e9  # no NaN
