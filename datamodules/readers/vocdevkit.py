"""Content of PASCAL VOC's development kits: lists, objects, and masks of classes."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.masks import read_values
from learned_saliency.datamodules.opening import ImageError
from learned_saliency.datamodules.readers.manylabels import (
    IGNORED,
    OBJECT,
    LabeledImage,
    draw_shares,
    multilabel_rows,
    sizes_of,
    truncated_box,
    write_masks,
)
from learned_saliency.datamodules.readers.voc import VOCObject, read_voc_objects
from learned_saliency.datamodules.readers.writing import Metadata, SplitRows
from learned_saliency.datamodules.textfile import DataError, line_error, read_lines
from learned_saliency.datamodules.transforms import unreadable

_VOID = 255  # border of objects in both kinds of segmentations
_AGAIN = "unpack the download again"
CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow")
CLASSES += ("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa")
CLASSES += ("train", "tvmonitor")


class Choice(NamedTuple):
    """Choice of what is taken of the kits; see `VOCReader` for the meaning of each."""

    lists: Mapping[str, Sequence[str]]
    val_fraction: float
    keep_difficult: bool
    make_masks: bool
    seed: int


class _Image(NamedTuple):
    """Image of a list.

    Attributes:
        year: Folder of its year below the devkit.
        name: Its name without an ending.
        objects: Its objects, in the order of their numbers from 1.
    """

    year: Path
    name: str
    objects: Sequence[VOCObject]

    @property
    def note(self) -> Path:
        """Its file of annotations."""
        return self.year / "Annotations" / f"{self.name}.xml"

    def read(self, kind: str) -> NDArray[np.uint8]:
        """Read its values (H, W) in the folder ``kind`` of segmentations."""
        path = self.year / kind / f"{self.name}.png"
        try:
            return read_values(path)
        except ImageError as error:
            raise unreadable(path, "segmentation", error) from None

    def is_segmented(self) -> bool:
        """Tell whether there are segmentations of it."""
        return (self.year / "SegmentationObject" / f"{self.name}.png").is_file()


class Devkit:
    """Content of a folder of development kits.

    Args:
        choice: What is taken of it.
        root: Folder that ids are relative to.
        devkit: The folder, which holds one per year.
    """

    def __init__(self, choice: Choice, root: Path, devkit: Path) -> None:
        self.choice, self.root, self.devkit = choice, root, devkit
        self.labels = {name: label for label, name in enumerate(CLASSES)}
        self._made: dict[str, tuple[_Image, int]] = {}  # what each mask shows

    def read(self) -> Metadata:
        """Read all splits."""
        splits = self._listed()
        images = {split: self._annotated(names) for split, names in splits.items()}
        rows = self._draw(images)
        return Metadata(
            CLASSES,
            {split: self._rows(split, found) for split, found in rows.items() if found},
            write_files=self._write_masks,
        )

    def _listed(self) -> dict[str, list[tuple[Path, str]]]:
        """Read the lists; an image may be in several lists of a split, but of no two splits."""
        owners: dict[tuple[Path, str], tuple[str, str]] = {}
        for split, lists in self.choice.lists.items():
            for place in lists:
                path = self.devkit / list_place(place)
                year = self.devkit / place.split("/")[0]
                lines = [line for line in read_lines(path) if line.strip()]
                if not lines:
                    raise DataError(f"{path}: lists no image; {_AGAIN}.")
                for row, line in enumerate(lines):
                    name = line.split()[0]
                    other = owners.setdefault((year, name), (split, place))
                    if other[0] != split or "/" in name or "," in name:
                        fault = f"is in {other[1]}, too, which is for {other[0]}"
                        fault = "is no name of an image" if other[0] == split else fault
                        raise line_error(path, row, f"{name[:60]} {fault}; correct the lists.")
        found: dict[str, list[tuple[Path, str]]] = {split: [] for split in self.choice.lists}
        for image, (split, _) in owners.items():
            found[split].append(image)
        return found

    def _annotated(self, names: Sequence[tuple[Path, str]]) -> list[_Image]:
        """Read the annotations of images in threads."""
        paths = [year / "Annotations" / f"{name}.xml" for year, name in names]
        with ThreadPoolExecutor(max_workers=min(16, 4 * (os.cpu_count() or 1))) as pool:
            found = list(pool.map(read_voc_objects, paths, chunksize=64))
        for path, objects in zip(paths, found, strict=True):
            for item in objects:
                if item.name not in self.labels:
                    raise DataError(
                        f"{path}: {item.name[:40]!r} is no class of VOC; correct it, or read other"
                        " sets by data=folder or data=labels."
                    )
        return [_Image(*image, objects) for image, objects in zip(names, found, strict=True)]

    def _draw(self, images: Mapping[str, list[_Image]]) -> dict[str, list[_Image]]:
        """Divide the images of the ``val`` lists."""
        pool = images["val"]
        names = [self._id(image) for image in pool]
        part = self.choice.val_fraction
        shares = draw_shares(
            names,
            [self._labels(image) for image in pool],
            names,
            {"val": part, "test": 1 - part},
            self.choice.seed,
        )
        drawn = {"train": images["train"], "val": [], "test": []}
        for image, share in zip(pool, shares, strict=True):
            drawn[share].append(image)
        return drawn | {"test": drawn["test"] + images["test"]}

    def _id(self, image: _Image) -> str:
        path = image.year / "JPEGImages" / f"{image.name}.jpg"
        return path.relative_to(self.root).as_posix()

    def _counted(self, image: _Image) -> list[VOCObject]:
        """List the objects that count."""
        return [item for item in image.objects if self.choice.keep_difficult or not item.difficult]

    def _labels(self, image: _Image) -> list[int]:
        return sorted({self.labels[item.name] for item in self._counted(image)})

    def _rows(self, split: str, images: Sequence[_Image]) -> SplitRows:
        """Make the rows of a split."""
        found = [LabeledImage(self._id(image), self._labels(image)) for image in images]
        if split == "train":
            return multilabel_rows(found)
        sizes = sizes_of(self.root, [image.id for image in found], _AGAIN)
        for image, row, size in zip(images, found, sizes, strict=True):
            row.boxes = [
                (self.labels[item.name], truncated_box(item.box, size, str(image.note), first=1))
                for item in self._counted(image)
            ]
        if self.choice.make_masks:
            with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
                segmented = list(pool.map(self._segmented, images, found, sizes))
            for image, row, labels in zip(images, found, segmented, strict=True):
                row.masks = {c: f"masks/{image.year.name}/{image.name}_{c}.png" for c in labels}
                self._made |= {path: (image, label) for label, path in row.masks.items()}
        return multilabel_rows(found, sizes)

    def _segmented(self, image: _Image, row: LabeledImage, size: np.ndarray) -> list[int]:
        """List the classes of an image of which its segmentation shows an object that counts."""
        if not image.is_segmented():
            return []
        for kind in ("SegmentationClass", "SegmentationObject"):
            height, width = image.read(kind).shape
            if (width, height) != tuple(size):
                raise DataError(
                    f"{image.year / kind / image.name}.png: has {width}x{height} pixels, its image"
                    f" {size[0]}x{size[1]}; {_AGAIN}."
                )
        return [label for label in row.labels if (self._mask(image, label) == OBJECT).any()]

    def _mask(self, image: _Image, label: int) -> NDArray[np.uint8]:
        """Make the mask of a class of an image."""
        classes, objects = image.read("SegmentationClass"), image.read("SegmentationObject")
        own = classes == label + 1
        counted = self._counted(image)
        left_out = [
            number
            for number, item in enumerate(image.objects, start=1)
            if item not in counted and item.name == CLASSES[label]
        ]
        mask = np.where(own, OBJECT, 0).astype(np.uint8)
        mask[(own & np.isin(objects, left_out)) | (classes == _VOID)] = IGNORED
        return mask

    def _write_masks(self, folder: Path) -> None:
        write_masks(folder, self._made, lambda name: self._mask(*self._made[name]))


def list_place(name: str) -> str:
    """Find the file of a list, relative to the devkit."""
    year, _, rest = name.partition("/")
    return f"{year}/ImageSets/{rest}.txt"
