"""Usable lines of the text files of a split."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules import (
    UNKNOWN,
)
from learned_saliency.pipeline.data.findings import Severity


class Numbers(NamedTuple):
    """Integers of a line.

    Attributes:
        line: Number of the line, from 1.
        image: Place of the line's image in the list of ids.
        values: The integers, but for the class behind a box.
        label: Class of a box of images with several; None for other lines.
    """

    line: int
    image: int
    values: tuple[int, ...]
    label: int | None = None


class MaskRow(NamedTuple):
    """Line of a list of masks.

    Attributes:
        line: Number of the line, from 1.
        image: Place of the line's image in the list of ids.
        mask: Path of the mask, relative to the root of the masks; empty where a class of several
            has an ignore mask alone.
        ignore: Path of the ignore mask, likewise; empty without one.
        label: Class of the mask of images with several; None for others.
    """

    line: int
    image: int
    mask: str
    ignore: str
    label: int | None = None


@dataclass
class SplitTable:
    """Usable lines of the text files of a split.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        folder: The split's folder.
        ids: Ids of the images.
        lines: Their lines in ``image_ids.txt``.
        several: Whether an image has any number of classes.
        labels: Lines with an image and its label.
        sizes: Width and height of each image, by the image's place in ``ids``; None without boxes.
        boxes: The boxes; None where the split has none.
        masks: The masks; None where the split has none.
        mask_file: The text file that lists the masks.
    """

    name: str
    folder: Path
    ids: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    several: bool = False
    labels: list[Numbers] = field(default_factory=list)
    sizes: dict[int, Numbers] | None = None
    boxes: list[Numbers] | None = None
    masks: list[MaskRow] | None = None
    mask_file: Path | None = None

    @cached_property
    def classes(self) -> dict[int, list[int]]:
        """Classes of each image by its place in ``ids``, as far as they are known."""
        found: dict[int, list[int]] = {k: [] for k in range(len(self.ids))} if self.several else {}
        for row in self.labels:
            if row.values[0] != UNKNOWN:
                found.setdefault(row.image, []).append(row.values[0])
        return found

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
