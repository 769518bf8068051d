"""Reader of the Oxford-IIIT Pets (Parkhi et al. 2012), straight from the unpacked download."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.masks import MaskValues, read_values
from learned_saliency.datamodules.opening import ImageError
from learned_saliency.datamodules.readers.base import ONE_CLASS, Published, Source
from learned_saliency.datamodules.readers.holdout import check_draw, draw_val
from learned_saliency.datamodules.readers.writing import Metadata, SplitRows, write_metadata
from learned_saliency.datamodules.textfile import DataError, line_error, read_lines
from learned_saliency.datamodules.transforms import unreadable

_VERSION = 1
_LISTS = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
_TRIMAPS = "annotations/trimaps"
_FORM = "image class species breed"
_OBJECT, _BACKGROUND, _BORDER = 1, 2, 3  # values of a trimap
_CLASSES, _TRAIN, _TEST = 37, 3680, 3669
_PAGE = "The Oxford-IIIT Pet Dataset (https://www.robots.ox.ac.uk/~vgg/data/pets/)"


class PetsReader:
    """Writer of the metadata of the Oxford-IIIT Pets from their lists and trimaps.

    ``test`` is the official test split. ``val`` is ``val_per_class`` images of each breed that are
    drawn with ``seed`` from the official ``trainval`` and missing from ``train``. A class is a
    breed, named as in the files: those of cats begin with a capital.

    Images of ``val`` and ``test`` have a mask and a box. The mask is the trimap: 1 is the object,
    2 the background, and the border, 3, which the annotators left open, is ignored. The box is the
    smallest that holds object and border. The boxes that come with the data set hold heads only and
    are not used. Files that no list names (``._*`` of macOS, ``*.mat``) are left alone, and an
    image may be of another format than its name says.

    Args:
        val_per_class: Images of each breed that become ``val``, 1 or more.
        seed: Seed of the choice of these images, 0 or more.

    Raises:
        ValueError: If ``val_per_class`` or ``seed`` is out of range.
    """

    tasks = ONE_CLASS
    mask_values = MaskValues(object=range(_OBJECT, _OBJECT + 1), ignore=range(_BORDER, _BORDER + 1))

    def __init__(self, *, val_per_class: int = 10, seed: int = 0) -> None:
        check_draw(val_per_class, seed)
        self.val_per_class, self.seed = val_per_class, seed

    @property
    def published(self) -> Mapping[str, Published]:
        """Published counts, less or only what ``val_per_class`` sets aside."""
        drawn = self.val_per_class * _CLASSES
        return {
            "train": Published(_TRAIN - drawn, None, None, _CLASSES),
            "val": Published(drawn, None, drawn, _CLASSES),
            "test": Published(_TEST, None, _TEST, _CLASSES),
        }

    sources: Sequence[Source] = (
        Source("images", "images (images.tar.gz)", _PAGE),
        *(Source(path, f"official {split} split", _PAGE) for split, path in _LISTS.items()),
        Source(_TRIMAPS, "masks (annotations.tar.gz)", _PAGE),
    )

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless this reader, with the same settings, has written it already.

        Args:
            root: The folder in which both archives are unpacked, with ``images`` and
                ``annotations``.
            metadata: The folder to write.

        Raises:
            DataError: If a list is missing or malformed, an image or a trimap of ``val`` or
                ``test`` is missing, damaged or of another size than the other, a class is too
                small to split, or ``metadata`` holds files of another origin.
        """
        for place in (*_LISTS.values(), "images", _TRIMAPS):
            if not (root / place).exists():
                raise DataError(
                    f"{root}: not the unpacked Oxford-IIIT Pets (no {place}); set `root`."
                )
        settings = {"version": _VERSION, "root": root, **vars(self)}
        write_metadata(metadata, "Pets", settings, lambda: self._read(root))

    def _read(self, root: Path) -> Metadata:
        """Read the three splits and the class names."""
        names: list[str] = []
        class_ids: list[int] = []
        breeds: dict[int, str] = {}
        rows = {}
        for split, place in _LISTS.items():
            found = _read_list(root / place, breeds, set(names))
            rows[split] = np.arange(len(names), len(names) + len(found))
            names += found
            class_ids += found.values()
        order = sorted(breeds)
        labels = np.searchsorted(order, class_ids)
        rows["val"] = draw_val(labels, rows["train"], self.val_per_class, self.seed)
        rows["train"] = np.setdiff1d(rows["train"], rows["val"])
        splits = {}
        for split, chosen in rows.items():
            own = [names[row] for row in chosen]
            if split == "train":
                splits[split] = SplitRows([_image_of(name) for name in own], labels[chosen])
            else:
                splits[split] = _read_evaluated(root, own, labels[chosen])
        return Metadata([breeds[class_id] for class_id in order], splits)


def _read_list(path: Path, breeds: dict[int, str], known: set[str]) -> dict[str, int]:
    """Read the names of images and the numbers of their classes.

    Args:
        path: List of a split.
        breeds: Names of the classes by their numbers, to which those of this list are added.
        known: Names of other lists.
    """
    found: dict[str, int] = {}
    for row, line in enumerate(line for line in read_lines(path) if line.strip()):
        if line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != _FORM.count(" ") + 1 or not all(map(str.isdecimal, fields[1:])):
            raise line_error(path, row, f"expected `{_FORM}`; unpack the download again.")
        name, class_id = fields[0], int(fields[1])
        breed = name.rpartition("_")[0]
        if name in found or name in known:
            raise line_error(path, row, f"{name} is listed twice; unpack the download again.")
        if breeds.setdefault(class_id, breed) != breed:
            raise line_error(
                path,
                row,
                f"{name} has class {class_id}, which other lines give to {breeds[class_id]};"
                " unpack the download again.",
            )
        found[name] = class_id
    return found


def _read_evaluated(root: Path, names: Sequence[str], labels: np.ndarray) -> SplitRows:
    """Read the sizes, masks and boxes of an evaluation split."""
    ids = [_image_of(name) for name in names]
    sizes, broken = read_sizes([root / image_id for image_id in ids])
    if broken:
        first = min(broken)
        raise DataError(
            f"{root / ids[first]}: the image cannot be read ({broken[first]}); unpack"
            " images.tar.gz again."
        )
    masks = [f"{_TRIMAPS}/{name}.png" for name in names]
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        paths = [root / mask for mask in masks]
        boxes = np.array(list(pool.map(_read_box, paths, sizes)), np.int64)
    rows = [(image_id, mask, "") for image_id, mask in zip(ids, masks, strict=True)]
    return SplitRows(ids, labels, sizes, boxes, ids, rows)


def _read_box(path: Path, size: np.ndarray) -> tuple[int, int, int, int]:
    """Find the smallest box, both ends inside, that holds what is not background in a trimap."""
    remedy = "unpack annotations.tar.gz again."
    try:
        values = read_values(path)
    except ImageError as error:
        raise unreadable(path, "trimap", error) from None
    height, width = values.shape
    if (width, height) != tuple(size):
        raise DataError(
            f"{path}: the trimap has {width}x{height} pixels, its image {size[0]}x{size[1]};"
            f" {remedy}"
        )
    if not _OBJECT <= values.min() <= values.max() <= _BORDER:
        raise DataError(f"{path}: the trimap has other values than 1, 2 and 3; {remedy}")
    y, x = np.nonzero(values != _BACKGROUND)
    if not len(x):
        raise DataError(f"{path}: the trimap is all background; {remedy}")
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def _image_of(name: str) -> str:
    return f"images/{name}.jpg"
