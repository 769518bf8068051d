"""Reader of OpenImages30k (Choe et al., CVPR 2020), straight from the unpacked download."""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules.metadata import SPLITS, read_split
from learned_saliency.datamodules.readers.base import ONE_CLASS, Published, Source
from learned_saliency.datamodules.readers.writing import (
    Metadata,
    SplitRows,
    absolute,
    write_metadata,
)
from learned_saliency.datamodules.textfile import DataError, read_lines

_VERSION = 1
_NAMES = "class-descriptions-boxable.csv"
_CLASSES = 100
_IMAGES = {"train": 29_819, "val": 2_500, "test": 5_000}
_BENCHMARK = "the WSOL benchmark (https://github.com/clovaai/wsolevaluation)"
_OPEN_IMAGES = "Open Images V5 (https://storage.googleapis.com/openimages/web/download.html)"
_IMAGE = re.compile(r"([0-9a-f]+)\.jpg")
_IGNORE = re.compile(r"([0-9a-f]+)_ignore\.png")
_MASK = re.compile(r"([0-9a-f]+)_m(\w+)_[0-9a-f]+\.png")


class OpenImagesReader:
    """Writer of the metadata of OpenImages30k, from the names of its files or the benchmark's.

    Both archives, of images and of masks, are unpacked into one folder::

        train/0bt_c3/0a9b7df4d832baf7.jpg
        val/0bt_c3/1cd9ac0169ec7df0.jpg                     an image of the class /m/0bt_c3
        val/0bt_c3/1cd9ac0169ec7df0_m0bt_c3_6932e993.png    one of its instances, or several
        val/0bt_c3/1cd9ac0169ec7df0_ignore.png              pixels that count for nothing

    With ``benchmark_metadata`` images, labels and masks are those of the benchmark's own lists, so
    that labels have the benchmark's order. Without it they follow from the files: the classes are
    the folders in the order of their names. Classes are called by the names in
    ``class-descriptions-boxable.csv`` where that file of Open Images lies in the root, by the names
    of their folders otherwise.

    Args:
        benchmark_metadata: The folder ``metadata/OpenImages`` of the benchmark's repository; None
            reads the folders of the download.
    """

    tasks = ONE_CLASS

    def __init__(self, benchmark_metadata: str | Path | None = None) -> None:
        self.benchmark_metadata = absolute(benchmark_metadata)

    published: Mapping[str, Published] = {
        split: Published(images=count, classes=_CLASSES) for split, count in _IMAGES.items()
    }

    @property
    def sources(self) -> Sequence[Source]:
        """Parts of the download."""
        images = {split: f"images of {split} (OpenImages_images.zip)" for split in SPLITS}
        lists = Source(
            str(self.benchmark_metadata or "metadata/OpenImages"),
            "lists of the benchmark, for data.reader.benchmark_metadata",
            _BENCHMARK,
            self.benchmark_metadata is not None,
        )
        return [
            *(Source(path, what, _BENCHMARK) for path, what in images.items()),
            Source(_NAMES, "names of the classes", _OPEN_IMAGES, False),
            lists,
        ]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless this reader, with the same settings, has written it already.

        Args:
            root: The folder with ``train``, ``val`` and ``test``.
            metadata: The folder to write.

        Raises:
            DataError: If a folder, an image, a mask or an ignore mask is missing, a mask lies in
                the folder of another class, a list is malformed, or ``metadata`` holds files of
                another origin.
        """
        missing = next((split for split in SPLITS if not (root / split).is_dir()), None)
        if missing is not None:
            raise DataError(
                f"{root}: not the unpacked OpenImages30k (no folder {missing}); set `root`."
            )
        names = (root / _NAMES).is_file()
        settings = {"version": _VERSION, "root": root, "names": names, **vars(self)}
        write_metadata(metadata, "OpenImages", settings, lambda: self._read(root))

    def _read(self, root: Path) -> Metadata:
        """Read the three splits and the class names."""
        if self.benchmark_metadata is None:
            classes = sorted(_folders(root / "train"))
            splits = {split: _scan_split(root, split, classes) for split in SPLITS}
        else:
            splits = {split: _read_list(self.benchmark_metadata / split) for split in SPLITS}
            classes = _classes_of(self.benchmark_metadata, splits)
        path = root / _NAMES
        names = _read_names(path) if path.is_file() else {}
        return Metadata([names.get(mid, mid) for mid in classes], splits)


class _Masks(NamedTuple):
    """Names of the mask files of an image."""

    instances: list[str]
    ignored: list[str]


def _folders(place: Path) -> list[str]:
    with os.scandir(place) as entries:
        return [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]


def _scan_split(root: Path, split: str, classes: Sequence[str]) -> SplitRows:
    """List images and masks of a split from the names of its files."""
    ids: list[str] = []
    labels: list[int] = []
    masks: dict[str, _Masks] = {}
    unknown = sorted(set(_folders(root / split)) - set(classes))
    if unknown:
        raise DataError(
            f"{root / split / unknown[0]}: there is no folder of this class in train; unpack"
            " OpenImages_images.zip again."
        )
    for label, mid in enumerate(classes):
        place = root / split / mid
        images, found = _scan_folder(place) if place.is_dir() else ([], {})
        own = [f"{split}/{mid}/{name}.jpg" for name in images]
        ids += own
        labels += [label] * len(own)
        masks |= {f"{split}/{mid}/{name}.jpg": parts for name, parts in found.items()}
    if split == "train":
        return SplitRows(ids, labels)
    return SplitRows(ids, labels, masks=_mask_rows(root, ids, masks) if masks else None)


def _scan_folder(place: Path) -> tuple[list[str], dict[str, _Masks]]:
    """List the images of a class and, by their names, the masks; other files are left alone."""
    images: list[str] = []
    masks: dict[str, _Masks] = {}
    for file in sorted(os.listdir(place)):
        if match := _IMAGE.fullmatch(file):
            images.append(match[1])
        elif match := _IGNORE.fullmatch(file):
            masks.setdefault(match[1], _Masks([], [])).ignored.append(file)
        elif match := _MASK.fullmatch(file):
            if match[2] != place.name:
                raise DataError(
                    f"{place / file}: this mask is of class {match[2]} by its name, not of"
                    f" {place.name}; unpack OpenImages_annotations.zip again."
                )
            masks.setdefault(match[1], _Masks([], [])).instances.append(file)
    return images, masks


def _mask_rows(
    root: Path, ids: Sequence[str], masks: Mapping[str, _Masks]
) -> list[tuple[str, str, str]]:
    """Make the lines of masks of an evaluation split, the ignore mask on an image's first one."""
    known = set(ids)
    orphan = next((name for name in masks if name not in known), None)
    if orphan is not None:
        raise DataError(
            f"{root / orphan}: this image is missing, though masks of it are there; unpack"
            " OpenImages_images.zip again."
        )
    rows = []
    for image_id in ids:
        folder, _, file = image_id.rpartition("/")
        found = masks.get(image_id, _Masks([], []))
        if not found.instances or not found.ignored:
            what = "ignore mask" if found.instances else "mask of an instance"
            raise DataError(
                f"{root / image_id}: has no {what} ({file.removesuffix('.jpg')}_*.png); unpack"
                f" OpenImages_annotations.zip in {root}."
            )
        for mask, ignored in zip_longest(found.instances, found.ignored, fillvalue=""):
            rows.append((image_id, f"{folder}/{mask}", ignored and f"{folder}/{ignored}"))
    return rows


def _read_list(folder: Path) -> SplitRows:
    """Read one split of the benchmark's metadata."""
    split = read_split(folder, localization=folder.name != "train")
    if folder.name == "train":
        return SplitRows(split.image_ids, split.labels)
    if split.mask_paths is None:
        raise DataError(f"{folder}: lists no masks; give the benchmark's metadata/OpenImages.")
    rows = []
    for i, image_id in enumerate(split.image_ids):
        masks, ignored = split.mask_paths[i], split.ignore_paths[i]
        if not ignored:
            raise DataError(f"{split.mask_file}: {image_id} has no ignore mask; add its path.")
        for mask, ignore in zip_longest(masks, ignored, fillvalue=""):
            rows.append((image_id, mask, ignore))
    return SplitRows(split.image_ids, split.labels, masks=rows)


def _classes_of(folder: Path, splits: Mapping[str, SplitRows]) -> list[str]:
    """Find the folder that the images of each label lie in, in the order of the labels."""
    classes: dict[int, str] = {}
    for split, rows in splits.items():
        for image_id, label in zip(rows.ids, map(int, rows.labels), strict=True):
            mid = image_id.rpartition("/")[0].rpartition("/")[2]
            if classes.setdefault(label, mid) != mid:
                raise DataError(
                    f"{folder / split / 'class_labels.txt'}: {image_id} has label {label}, but"
                    f" other images with it lie in folders {classes[label]}; correct it."
                )
    if sorted(classes) != list(range(len(classes))):
        raise DataError(f"{folder}: the labels have gaps; give the benchmark's metadata.")
    return [classes[label] for label in range(len(classes))]


def _read_names(path: Path) -> dict[str, str]:
    """Read the names of the classes by their numbers, without the ``/m/`` before these."""
    names = {}
    try:
        rows = list(csv.reader(line for line in read_lines(path) if line.strip()))
    except csv.Error as error:
        raise DataError(f"{path}: not a table of names ({error}); replace it.") from None
    for row in rows:
        if len(row) != 2 or not row[1].strip():
            raise DataError(f"{path}: {','.join(row)[:60]!r} is not `number,name`; replace it.")
        names[row[0].strip().rpartition("/")[2]] = row[1].strip()
    return names
