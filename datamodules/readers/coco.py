"""Reader of data sets in COCO's layout (Lin et al., ECCV 2014): JSON files with instances."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from learned_saliency.datamodules.readers.base import MANY_CLASSES, Published, Source
from learned_saliency.datamodules.readers.instances import (
    InstanceImage,
    Instances,
    class_mask,
    is_outlined,
)
from learned_saliency.datamodules.readers.manylabels import (
    MASK_VALUES,
    LabeledImage,
    check_draw,
    covering_box,
    draw_shares,
    multilabel_rows,
    share_sizes,
    write_masks,
)
from learned_saliency.datamodules.readers.writing import Metadata, SplitRows, write_metadata
from learned_saliency.datamodules.textfile import DataError

_VERSION = 1
_PAGE = "COCO (https://cocodataset.org/#download)"
_KEYS = {"annotations", "images"}
_CLASSES = 80
_LONGEST = 100  # characters of an image's name in that of a mask
_IMAGES = {  # numbers of images in lists, as COCO's page states them
    "instances_train2014.json": 82783,
    "instances_val2014.json": 40504,
    "instances_train2017.json": 118287,
    "instances_val2017.json": 5000,
}


class COCOReader:
    """Writer of the metadata of COCO, or of a set in its layout, from the files of instances.

    ``train`` has labels alone. Of the images of ``val`` a share is drawn as the split ``val``, in
    which every class has its part; the others are ``test``, and so are the images of ``test``. A
    class is a category; labels are in the order of the category ids, which may have gaps. An
    image without annotations has none of the classes.

    A box ``[x, y, width, height]`` lies between pixels; of it the smallest box of whole pixels that
    covers it is taken, and cut at the image's edges. Images of ``val`` and ``test`` get a mask of
    each of their classes, of polygons and of runs as COCO's own code draws them. What is a crowd
    (``iscrowd``) tells that the class is there; it has no box, and its pixels are ignored in the
    mask. A class of crowds alone has no mask, nor has one with an object without a segmentation.
    Masks are written below the metadata.

    A file is read record by record; of ``train`` only which classes an image has is kept.

    Args:
        train_files: Where the training images are: ``annotations``, a JSON file, and ``images``, a
            folder, both relative to the root.
        val_files: Images out of which ``val`` is drawn, likewise.
        test_files: Further images for testing, likewise; None for none.
        val_fraction: Share of the images of ``val_files`` that becomes ``val``, in (0, 1].
        make_masks: Whether masks are made.
        seed: Seed of the draw, 0 or more.

    Raises:
        ValueError: If a number is out of range, or a place has other keys.
    """

    tasks = MANY_CLASSES
    mask_values = MASK_VALUES

    def __init__(
        self,
        *,
        train_files: Mapping[str, str],
        val_files: Mapping[str, str],
        test_files: Mapping[str, str] | None = None,
        val_fraction: float = 0.2,
        make_masks: bool = True,
        seed: int = 0,
    ) -> None:
        check_draw(val_fraction, seed)
        self.places = {"train": dict(train_files), "val": dict(val_files)}
        self.places |= {} if test_files is None else {"test": dict(test_files)}
        for split, place in self.places.items():
            if place.keys() != _KEYS or not all(place.values()):
                raise ValueError(f"expected {split}_files with annotations and images, got {place}")
        self.val_fraction, self.make_masks, self.seed = val_fraction, make_masks, seed

    @property
    def published(self) -> Mapping[str, Published]:
        """Published numbers of images, where the files have the names of COCO's own."""
        names = {s: PurePosixPath(p["annotations"]).name for s, p in self.places.items()}
        if not all(name in _IMAGES for name in names.values()):
            return {}
        counts = {split: _IMAGES[name] for split, name in names.items()}
        drawn = share_sizes(counts["val"], self.val_fraction)
        counts |= {"val": drawn["val"], "test": counts.get("test", 0) + drawn["test"]}
        found = {split: Published(count) for split, count in counts.items()}
        return found | {"train": Published(counts["train"], classes=_CLASSES)}

    @property
    def sources(self) -> Sequence[Source]:
        """Parts of the download."""
        return [
            Source(place[key], f"{key} of the split {split}", _PAGE)
            for split, place in self.places.items()
            for key in ("images", "annotations")
        ]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless it was written with the same settings from the same files.

        Args:
            root: The folder with the images and the annotations.
            metadata: The folder to write.

        Raises:
            DataError: If a file is missing, no JSON or cut off, a record lacks what it needs or
                refers to no other, the files have different categories, a segmentation is damaged,
                or ``metadata`` holds files of another origin. The error names file and record.
        """
        files = {split: root / place["annotations"] for split, place in self.places.items()}
        for file in files.values():
            if not file.is_file():
                raise DataError(f"{file}: this file of instances is missing; set `root`.")
        stamps = {
            str(file): [file.stat().st_size, file.stat().st_mtime_ns] for file in files.values()
        }
        settings = {"version": _VERSION, "root": root, **vars(self), "files": stamps}
        write_metadata(metadata, "COCO", settings, lambda: self._read(files))

    def _read(self, files: Mapping[str, Path]) -> Metadata:
        """Read all files and divide the images."""
        found = {}
        for split, path in files.items():
            whole = split != "train"
            folder = self.places[split]["images"]
            file = Instances(split, path, folder, whole=whole, masks=self.make_masks)
            found[split] = file.read()
        categories = found["train"].categories
        for other in found.values():
            if other.categories != categories:
                raise DataError(
                    f"{other.path}, categories: differ from those of {found['train'].path}; give"
                    " all files the same."
                )
        labels = {category: label for label, category in enumerate(sorted(categories))}
        splits = {"train": multilabel_rows(found["train"].labeled(labels))}
        masks: dict[str, tuple[Instances, InstanceImage, int]] = {}
        for split, part in self._evaluated(found, labels).items():
            if part:
                splits[split] = _localized(part, labels, masks)

        def write(folder: Path) -> None:
            write_masks(folder, masks, lambda name: class_mask(*masks[name]))

        return Metadata([categories[key] for key in labels], splits, write_files=write)

    def _evaluated(
        self, found: Mapping[str, Instances], labels: Mapping[int, int]
    ) -> dict[str, list[tuple[Instances, InstanceImage]]]:
        """Draw ``val`` out of its images."""
        pool, images = found["val"].labeled(labels), list(found["val"].images.values())
        ids, part = [image.id for image in pool], self.val_fraction
        own = [image.labels for image in pool]
        shares = draw_shares(ids, own, ids, {"val": part, "test": 1 - part}, self.seed)
        splits: dict[str, list[tuple[Instances, InstanceImage]]] = {"val": [], "test": []}
        for image, share in zip(images, shares, strict=True):
            splits[share].append((found["val"], image))
        further = found["test"].images.values() if "test" in found else ()
        splits["test"] += [(found["test"], image) for image in further]
        return splits


def _localized(
    images: Sequence[tuple[Instances, InstanceImage]],
    labels: Mapping[int, int],
    masks: dict[str, tuple[Instances, InstanceImage, int]],
) -> SplitRows:
    """Make the rows of an evaluation split; note in ``masks`` what each mask shows."""
    found = []
    for file, image in images:
        row = LabeledImage(image.id, sorted(labels[key] for key in image.categories))
        row.boxes = [
            (
                labels[item.category],
                covering_box(
                    (*item.box[:2], item.box[0] + item.box[2], item.box[1] + item.box[3]),
                    image.size,
                    f"{file.path}, annotations[{item.number}]",
                ),
            )
            for item in image.objects
            if item.box is not None
        ]
        for category in sorted(image.categories):
            if is_outlined(image, category):
                stem = re.sub(r"[^\w-]", "_", PurePosixPath(image.id).stem)[:_LONGEST]
                path = f"masks/{file.split}/{stem}-{image.number}-{labels[category]}.png"
                masks[path] = file, image, category
                row.masks = {**row.masks, labels[category]: path}
        found.append(row)
    return multilabel_rows(found, np.array([image.size for _, image in images], np.int64))
