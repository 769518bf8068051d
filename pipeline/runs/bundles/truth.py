"""Truth of the images in a bundle: labels, values and boxes, from its tables."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from learned_saliency.pipeline.runs.bundles.facts import BOXES, IMAGES, Facts, image_columns
from learned_saliency.pipeline.runs.bundles.reading import BundleError

_MOST_BOXES = 10_000  # boxes of an image
_INTEGER = re.compile(r"-?[0-9]{1,9}")
_FLOAT = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,3})?")
_BOX = ("x0", "y0", "x1", "y1")


class BundleImage(NamedTuple):
    """A tested image.

    Attributes:
        place: Place of the image in the split.
        image_id: Name of the image.
        label: True class; -1 where it is unknown.
        seen: Whether its class was trained on; None where that is not recorded.
        boxes: True boxes, int64 (n, 4), x0 y0 x1 y1 in pixels of the input, both ends inside; none
            without boxes.
        labels: All classes of the image, where it may have several; else none.
        values: Values of the image in regression; else none.
        source: Name of the image that a sample shows; its own name where there are no samples.
        first: Whether this is the first of the tested images that show it.
    """

    place: int
    image_id: str
    label: int
    seen: bool | None
    boxes: Tensor
    labels: Sequence[int]
    values: Sequence[float]
    source: str
    first: bool


class Truth:
    """Reader of the tables of a bundle, which may be anyone's.

    Args:
        path: The bundle.
        facts: Its description.
        read: Reads a member by its name.
    """

    def __init__(self, path: Path, facts: Facts, read: Callable[[str], bytes]) -> None:
        self._path, self._facts, self._read = path, facts, read

    def images(self) -> list[BundleImage]:
        """Read the images in the order of the split.

        Raises:
            BundleError: If a table is damaged, or is of other images than the maps.
        """
        boxes, shown = self._boxes(), set[str]()
        images: list[BundleImage] = []
        for row in self._table(IMAGES, image_columns(self._facts)):
            image = self._image(row, boxes, shown)
            shown.add(image.source)
            images.append(image)
        if [image.place for image in images] != self._facts.places():
            raise BundleError(self._path, IMAGES, "is of other images than the maps")
        return images

    def _image(
        self, row: dict[str, str], boxes: dict[int, list[list[int]]], shown: set[str]
    ) -> BundleImage:
        """Read an image, where others were ``shown`` before."""
        facts = self._facts
        place, label = self._numbers(IMAGES, row, ("place", "label"))
        seen = bool(*self._numbers(IMAGES, row, ("seen",))) if facts.seen else None
        of_place = torch.tensor(boxes.get(place, []), dtype=torch.int64).reshape(-1, 4)
        if facts.boxes and not len(of_place) and not facts.samples:
            raise BundleError(self._path, BOXES, f"has no box of the image at {place}")
        source = (row["image"] or "") if facts.samples else row["image_id"]
        told = self._labels(row), self._values(row)
        return BundleImage(
            place, row["image_id"], label, seen, of_place, *told, source, source not in shown
        )

    def _labels(self, row: dict[str, str]) -> list[int]:
        """Read all classes of an image."""
        texts = row["labels"].split(" ") if self._facts.multilabel and row["labels"] else []
        labels = self._integers(IMAGES, texts)
        if any(not 0 <= label < self._facts.logits for label in labels):
            raise BundleError(
                self._path, IMAGES, f"has classes of {row['image_id']} without logits"
            )
        return labels

    def _values(self, row: dict[str, str]) -> list[float]:
        """Read all values of an image."""
        if not self._facts.values:
            return []
        texts = (row["values"] or "").split(" ")
        values = [float(text) if _FLOAT.fullmatch(text) else math.nan for text in texts]
        if len(values) != self._facts.logits or not all(map(math.isfinite, values)):
            raise BundleError(
                self._path, IMAGES, f"has no {self._facts.logits} values of {row['image_id']}"
            )
        return values

    def _boxes(self) -> dict[int, list[list[int]]]:
        boxes: dict[int, list[list[int]]] = {}
        if self._facts.boxes:
            for row in self._table(BOXES, ("place", *_BOX)):
                place, *box = self._numbers(BOXES, row, ("place", *_BOX))
                of_place = boxes.setdefault(place, [])
                of_place.append(box)
                if len(of_place) > _MOST_BOXES:
                    raise BundleError(self._path, BOXES, "has too many boxes of an image")
        return boxes

    def _table(self, name: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
        """Read the rows of a table."""
        content = self._read(name)
        try:
            reader = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
            if tuple(reader.fieldnames or ()) != columns:
                raise ValueError(f"columns {reader.fieldnames}")
            yield from reader
        except (ValueError, csv.Error) as error:
            raise BundleError(self._path, name, f"is no table as it should be ({error})") from None

    def _numbers(self, name: str, row: dict[str, str], columns: Sequence[str]) -> list[int]:
        """Read whole numbers out of the row of a table."""
        return self._integers(name, [row[column] or "" for column in columns])

    def _integers(self, name: str, texts: Sequence[str]) -> list[int]:
        for text in texts:
            if not _INTEGER.fullmatch(text):
                raise BundleError(self._path, name, f"has {text!r:.40} where a number should be")
        return [int(text) for text in texts]
