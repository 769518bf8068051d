"""Reader of an image data set in Hugging Face's parquet form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from learned_saliency.datamodules.classes import MAX_COUNTED
from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.opening import ImageError, PackedImage
from learned_saliency.datamodules.readers.annotations import Marks, of_own_class
from learned_saliency.datamodules.readers.base import ONE_CLASS
from learned_saliency.datamodules.readers.boxtables import NotedBox, checked_box
from learned_saliency.datamodules.readers.folderrows import Photos
from learned_saliency.datamodules.readers.foldersplits import Rule
from learned_saliency.datamodules.readers.making import make_metadata
from learned_saliency.datamodules.readers.packed import PackedReader, split_by_names
from learned_saliency.datamodules.readers.parquetfile import RowFile
from learned_saliency.datamodules.readers.writing import Metadata
from learned_saliency.datamodules.textfile import DataError

_OBJECTS = "objects"  # column of boxes


class _Part(NamedTuple):
    """File of a split: its labels, the classes that it states, and boxes by row if it has any."""

    name: str
    split: str
    labels: list[Any]
    classes: list[str]
    boxes: list[list[NotedBox]]


class ParquetReader(PackedReader):
    """Writer of the metadata of images in parquet files, and reader of the images.

    The files lie anywhere below the root, and their names or folders tell their splits:
    ``data/train-00000-of-00003.parquet``, ``validation/0000.parquet``. A row is an image: a column
    of bytes, or of groups with ``bytes`` as Hugging Face's library writes them, and a label, an
    integer or a name. Boxes are ``bbox`` of a column ``objects``. An image's id is its file and the
    number of its row, ``data/train-00000-of-00003.parquet/17``. Splits that are missing are drawn
    as in `FolderReader`; a split whose labels are all below 0, as in data sets that keep the
    labels of ``test`` secret, is missing.

    A row is read with its row group, of which two per file and process stay in memory. Training in
    random order therefore reads much more than it uses: cache the images where they fit.

    Args:
        image: Name of the column of images.
        label: Name of the column of labels.
        corners: Whether boxes are corners x0 y0 x1 y1, instead of a corner and two sides.
        val_fraction: See `FolderReader`.
        test_fraction: See `FolderReader`.
        seed: See `FolderReader`.
        keep_similar: See `FolderReader`.
        exif_orientation: See `FolderReader`.

    Raises:
        ValueError: If a fraction or the seed is out of range.
    """

    tasks = ONE_CLASS
    kind = "parquet"

    def __init__(
        self,
        *,
        image: str = "image",
        label: str = "label",
        corners: bool = False,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        seed: int = 0,
        keep_similar: bool = True,
        exif_orientation: bool = False,
    ) -> None:
        self.image, self.label, self.corners = image, label, corners
        super().__init__(
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            keep_similar=keep_similar,
            exif_orientation=exif_orientation,
        )
        self._root: Path | None = None
        self._files: dict[str, RowFile] = {}

    def at(self, root: Path) -> ParquetReader:
        """Return a reader of the same settings that opens images below ``root``."""
        return self._copy(_root=root, _files={})

    def open(self, image_id: str) -> bytes:
        """Read the encoded bytes of an image.

        Raises:
            ImageError: If there is no such image.
        """
        assert self._root is not None, "a reader opens images after `at`"
        name, _, row = image_id.rpartition("/")
        if not row.isdecimal():
            raise ImageError("the id does not end with the number of a row")
        if name not in self._files:
            self._files.setdefault(name, RowFile(self._root / name, self.image))
        return self._files[name].read(int(row))

    def _list(self, root: Path) -> dict[str, str]:
        if not root.is_dir():
            raise DataError(f"{root}: the folder of parquet files is missing; set `root`.")
        return split_by_names(
            root,
            ".parquet",
            lambda stem: [stem.split("-")[0]],
            none="holds no parquet files",
            remedy="name it like train-00000-of-00001.parquet",
        )

    def _read(self, root: Path, files: Mapping[str, str]) -> Metadata:
        """Read labels, boxes and the facts about all images."""
        parts = [self._part(root, name, split) for name, split in files.items()]
        names = _class_names(root, parts)
        secret = {s for s in SPLITS if _all_unknown([part for part in parts if part.split == s])}
        kept = [part for part in parts if part.split not in secret]
        if "train" not in {part.split for part in kept}:
            raise DataError(f"{root}: holds no training images with labels; add train-*.parquet.")
        photos, boxes, remarks = Photos(root, [], [], [], []), {}, []
        for part in kept:
            ids = [f"{part.name}/{row}" for row in range(len(part.labels))]
            photos.names.extend(ids)
            photos.labels.extend(_indices(root / part.name, part.labels, names))
            photos.splits.extend([part.split] * len(ids))
            photos.facts.extend(self._facts(root, ids, self._images(root, part.name, ids)))
            boxes |= {image: found for image, found in zip(ids, part.boxes, strict=False) if found}
        if secret:
            remarks.append(f"left out, without labels: {', '.join(sorted(secret))}.")
        own, others = of_own_class(
            boxes, {image: names[k] for image, k in zip(photos.names, photos.labels, strict=True)}
        )
        if others:
            remarks.append(f"boxes of other objects than the image's class, left out: {others}.")
        return make_metadata(
            photos,
            names,
            Marks(own, {}, []),
            Rule(self.fractions, self.seed, None),
            exif=self.exif_orientation,
            known={},
            remarks=remarks,
        )

    def _part(self, root: Path, name: str, split: str) -> _Part:
        """Read labels and boxes of a file."""
        file = RowFile(root / name, self.image)
        features, there = file.features(), file.file.schema_arrow.names
        for column, key in ((self.image, "image"), (self.label, "label")):
            if column not in there:
                raise DataError(
                    f"{root / name}: has no column {column}, but {', '.join(there)}; choose by "
                    f"data.reader.{key}=COLUMN."
                )
        labels = file.table([self.label]).column(0).to_pylist()
        named = (features.get(self.label) or {}).get("names")
        boxes = []
        if _OBJECTS in there:
            objects = file.table([_OBJECTS]).column(0).to_pylist()
            categories = _category_names(features)
            boxes = [
                self._boxes(found, categories, f"{root / name}, row {row}")
                for row, found in enumerate(objects)
            ]
        return _Part(name, split, labels, list(map(str, named or [])), boxes)

    def _boxes(self, objects: Any, categories: Sequence[str], where: str) -> list[NotedBox]:
        """Bring the objects of a row, a group of lists or a list of groups, to boxes."""
        if isinstance(objects, dict):
            boxes, kinds = objects.get("bbox") or [], objects.get("category") or []
        else:
            groups = [group for group in objects or [] if isinstance(group, dict)]
            boxes = [group.get("bbox") for group in groups]
            kinds = [group.get("category") for group in groups]
        found = []
        for place, box in enumerate(boxes):
            if not isinstance(box, list) or len(box) != 4 or None in box:
                raise DataError(f"{where}: the box {box!r:.60} is not four numbers; correct it.")
            kind = kinds[place] if place < len(kinds) else None
            known = isinstance(kind, int) and 0 <= kind < len(categories)
            label = categories[kind] if known else str("" if kind is None else kind)
            corners = checked_box(tuple(map(float, box)), not self.corners, where)
            found.append(NotedBox("", corners, label, where))
        return found

    def _images(self, root: Path, name: str, ids: Sequence[str]) -> Iterator[PackedImage]:
        """Read the images of a file, one after the other."""
        rows = RowFile(root / name, self.image).rows()
        for image, content in zip(ids, rows, strict=True):
            yield PackedImage(root / image, image, lambda _, content=content: content)


def _category_names(features: Mapping[str, Any]) -> list[str]:
    """Find the names of the objects' categories, however the column is nested."""
    node: Any = features.get(_OBJECTS)
    for _ in range(4):
        if isinstance(node, list):
            node = node[0] if node else None
        if not isinstance(node, dict):
            return []
        if "category" in node:
            category = node["category"]
            while isinstance(category, dict) and "feature" in category:
                category = category["feature"]
            return list(map(str, category.get("names") or [])) if isinstance(category, dict) else []
        node = node.get("feature")
    return []


def _all_unknown(parts: Sequence[_Part]) -> bool:
    labels = [label for part in parts for label in part.labels]
    return bool(labels) and all(label is None or label == -1 for label in labels)


def _class_names(root: Path, parts: Sequence[_Part]) -> list[str]:
    """Settle the names of the classes: those that the files state, or the labels themselves."""
    stated = [part.classes for part in parts if part.classes]
    if any(names != stated[0] for names in stated):
        raise DataError(f"{root}: its files state different names of classes; correct them.")
    if stated:
        return stated[0]
    labels = {label for part in parts for label in part.labels if label is not None}
    if all(isinstance(label, str) for label in labels):
        return sorted(labels)
    if not all(isinstance(label, int) for label in labels):
        raise DataError(f"{root}: its labels are neither integers nor names; choose other ones.")
    return [str(label) for label in range(min(max(labels, default=-1) + 1, MAX_COUNTED))]


def _indices(path: Path, labels: Sequence[Any], names: Sequence[str]) -> list[int]:
    """Bring labels to indices of the classes."""
    index = {name: k for k, name in enumerate(names)}
    found = [index.get(label, -1) if isinstance(label, str) else label for label in labels]
    for row, label in enumerate(found):
        if not isinstance(label, int) or not 0 <= label < len(names):
            raise DataError(
                f"{path}, row {row}: the label {labels[row]!r:.40} is none of the {len(names)} "
                "classes; correct it."
            )
    return found
