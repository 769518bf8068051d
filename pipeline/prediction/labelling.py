"""Annotation files of a call of predict.py: written by all processes, joined by the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image

from learned_saliency.metrics import largest_regions
from learned_saliency.pipeline.cli import UserError, nearest, values
from learned_saliency.pipeline.prediction.index import read_records
from learned_saliency.pipeline.prediction.labels import FORMATS
from learned_saliency.pipeline.prediction.labels.base import (
    LabelFormat,
    LabelledImage,
    LabelledObject,
    unique_names,
)
from learned_saliency.pipeline.prediction.outcomes import ClassScore, PlacedMap
from learned_saliency.pipeline.prediction.reading import ReadImage
from learned_saliency.pipeline.prediction.sources import Found
from learned_saliency.storage import replacing, write_bytes

FOLDER = "labels"  # in ``out``; each format has a folder in it


class Labels:
    """Writer of annotation files in several formats.

    Args:
        names: Names of the formats.
        class_names: Names of the classes.
        folder: The folder ``out``.
        threshold: Fraction of a map's maximum above which a pixel belongs to an object, in [0, 1).

    Attributes:
        formats: The formats.
    """

    def __init__(
        self, names: Sequence[str], class_names: Sequence[str], folder: Path, threshold: float
    ) -> None:
        unique = unique_names(list(class_names))
        self.formats: list[LabelFormat] = [FORMATS[name](unique) for name in names]
        self.folder = folder / FOLDER
        self.threshold = threshold

    def find(self, placed: PlacedMap, explained: ClassScore) -> list[LabelledObject]:
        """Find the object in a map: the region that its box is drawn around, if it has one.

        Args:
            placed: The map.
            explained: The class that it speaks for.
        """
        if not placed.box.any():
            return []
        (mask,) = largest_regions(torch.from_numpy(placed.saliency)[None], self.threshold).numpy()
        return [LabelledObject(explained.index, explained.probability, mask)]

    def write(self, read: ReadImage, objects: Sequence[LabelledObject]) -> dict[str, Any]:
        """Write the files of an image.

        Args:
            read: The image.
            objects: The objects found in it, at most one per class.

        Returns:
            What goes into the joined files, by format, ready for JSON.
        """
        height, width = read.pixels.shape[:2]
        ordered = sorted(objects, key=lambda found: -found.probability)
        found = read.found
        image = LabelledImage(read.number, found.name, found.stem, width, height, ordered)
        for form in self.formats:
            for path, content in form.image_files(image):
                write_bytes(self.folder / form.name / path, content)
        fragments = {form.name: form.fragment(image) for form in self.formats}
        return {name: fragment for name, fragment in fragments.items() if fragment is not None}

    def join(self) -> list[Path]:
        """Write the joined files from the parts of all processes, each whole.

        Returns:
            The folders of the formats.
        """
        for form in self.formats:
            fragments = partial(read_records, self.folder.parent, kind_of(form.name))
            for path, pieces in form.joined_files(fragments):
                with (
                    replacing(self.folder / form.name / path) as temporary,
                    temporary.open("w", encoding="utf-8") as file,
                ):
                    file.writelines(pieces)
        return [self.folder / form.name for form in self.formats]


def kind_of(name: str) -> str:
    """Name the kind of line that a format has in the parts of the index."""
    return f"{FOLDER}.{name}"


def label_formats(config: DictConfig) -> list[str]:
    """List the formats that ``labels`` names, each once.

    Raises:
        UserError: If there is no such format.
    """
    names = [] if config.labels is None else list(dict.fromkeys(values(config.labels)))
    for name in names:
        if name not in FORMATS:
            raise UserError(
                f"labels: no format is named '{name}'{nearest(name, list(FORMATS))}; there are: "
                f"{', '.join(FORMATS)}."
            )
    return names


def with_stems(files: Iterable[Found], say: Callable[[str], None] = str) -> Iterator[Found]:
    """Give each file the name of its annotations: its own without its ending.

    Of images that differ in their endings alone the first has it; the others keep their endings.
    Only endings of images are taken off, so that a note beside an image takes no name.

    Args:
        files: The files, in the same order on all processes.
        say: Called with a line for each image whose annotations keep its ending.
    """
    endings = set(Image.registered_extensions())
    taken: set[int] = set()  # hashes: a few bytes per file
    for found in files:
        short, dot, ending = found.name.rpartition(".")
        is_short = bool(dot) and f".{ending.lower()}" in endings and not short.endswith("/")
        stem = short if is_short else found.name
        if hash(stem.casefold()) in taken:
            stem = found.name
            say(f"{stem} has the name of another image but for its ending: its labels keep it")
        while hash(stem.casefold()) in taken:
            stem += "_"
        taken.add(hash(stem.casefold()))
        yield found._replace(stem=stem)
