"""Content of a file of instances in COCO's format: images, their objects, and masks of these."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.opening import MAX_PIXELS
from learned_saliency.datamodules.readers.jsonstream import Record, read_records
from learned_saliency.datamodules.readers.manylabels import IGNORED, OBJECT, LabeledImage
from learned_saliency.datamodules.readers.rle import read_segmentation
from learned_saliency.datamodules.textfile import DataError

_FARTHEST = 1e9  # pixels, which no box reaches


@dataclass
class InstanceObject:
    """Annotation of an object or a crowd.

    Attributes:
        number: Number of its record.
        category: Id of its category.
        crowd: Whether it is a crowd.
        box: x, y, width, height; None without one.
        segmentation: Its segmentation as it is in the file; None without one.
    """

    number: int
    category: int
    crowd: bool
    box: Sequence[float] | None
    segmentation: Any


@dataclass
class InstanceImage:
    """Image of a file of instances.

    Attributes:
        id: Path relative to the root.
        number: Number of its record.
        size: Width and height in pixels; 0 where they are not needed.
        categories: Ids of the categories that it has.
        objects: What it shows, where that is needed.
    """

    id: str
    number: int
    size: tuple[int, int]
    categories: set[int] = field(default_factory=set)
    objects: list[InstanceObject] = field(default_factory=list)


class Instances:
    """Content of a file of instances.

    Args:
        split: Name of the images in paths of masks.
        path: The file.
        folder: Folder of the images, relative to the root.
        whole: Whether objects are kept, not their categories alone.
        masks: Whether their segmentations are kept.

    Attributes:
        images: Images by their ids in the file.
        categories: Names of the categories by their ids.
    """

    def __init__(self, split: str, path: Path, folder: str, *, whole: bool, masks: bool) -> None:
        self.split, self.path, self.whole, self.masks = split, path, whole, masks
        self.images: dict[int | str, InstanceImage] = {}
        self.categories: dict[int, str] = {}
        self._folder = folder.rstrip("/")
        self._early: list[tuple[int, Record]] = []  # annotations that come before the images

    def read(self) -> "Instances":
        """Read the file."""
        handlers = {
            "images": self._add_image,
            "annotations": self._add_object,
            "categories": self._add_category,
        }
        there = read_records(self.path, handlers)
        for key in handlers:
            if key not in there:
                raise DataError(f"{self.path}: has no list {key}; see whether it has instances.")
        for key, have in (("images", self.images), ("categories", self.categories)):
            if not have:
                raise DataError(f"{self.path}, {key}: is empty; replace the file.")
        for number, record in self._early:
            self._place(number, record)
        for image in self.images.values():
            if unknown := image.categories - self.categories.keys():
                raise DataError(
                    f"{self.path}, annotations: {image.id} has the category_id {min(unknown)},"
                    " which is not in categories; correct it."
                )
        names = [image.id for image in self.images.values()]
        if len(set(names)) < len(names):
            twice = Counter(names).most_common(1)[0][0]
            raise DataError(f"{self.path}, images: {twice} is listed twice; remove one.")
        return self

    def labeled(self, labels: Mapping[int, int]) -> list[LabeledImage]:
        """List the images with their labels, given by category ids."""
        return [
            LabeledImage(image.id, sorted(labels[key] for key in image.categories))
            for image in self.images.values()
        ]

    def _add_category(self, number: int, record: Record) -> None:
        key, name = record.get("id"), record.get("name")
        if type(key) is not int or not isinstance(name, str) or not name.strip():
            raise self._fault("categories", number, "has no integer id or no name")
        if key in self.categories:
            raise self._fault("categories", number, f"has id {key} of another one")
        self.categories[key] = " ".join(name.split())

    def _add_image(self, number: int, record: Record) -> None:
        key, name = record.get("id"), record.get("file_name")
        if not isinstance(key, int | str) or not isinstance(name, str) or not name.strip():
            raise self._fault("images", number, "has no id or no file_name")
        if "\n" in name or "\r" in name or "\0" in name:
            raise self._fault("images", number, "has a file_name with a line break")
        if key in self.images:
            raise self._fault("images", number, f"has id {key!r:.40} of another one")
        size = record.get("width"), record.get("height")
        if not self.whole:
            size = 0, 0
        elif not all(type(side) is int and side > 0 for side in size):
            raise self._fault("images", number, "has no width and height in pixels")
        elif size[0] * size[1] > MAX_PIXELS:
            raise self._fault("images", number, f"has more than {MAX_PIXELS} pixels")
        self.images[key] = InstanceImage(f"{self._folder}/{name}", number, size)

    def _add_object(self, number: int, record: Record) -> None:
        category, image = record.get("category_id"), record.get("image_id")
        if type(category) is not int or not isinstance(image, int | str):
            raise self._fault("annotations", number, "has no image_id or no integer category_id")
        if not self.whole:
            record = {"image_id": image, "category_id": category}
        if image in self.images:
            self._place(number, record)
        else:
            self._early.append((number, record))

    def _place(self, number: int, record: Record) -> None:
        """Bring an annotation to its image."""
        image = self.images.get(record["image_id"])
        if image is None:
            told = f"has the image_id {record['image_id']!r:.40}, which is not in images"
            raise self._fault("annotations", number, told)
        image.categories.add(record["category_id"])
        if not self.whole:
            return
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise self._fault("annotations", number, f"has iscrowd {crowd!r:.40}, neither 0 nor 1")
        segmentation = record.get("segmentation") if self.masks else None
        box = None if crowd else self._box(number, record.get("bbox"))
        found = InstanceObject(
            number, record["category_id"], bool(crowd), box, segmentation or None
        )
        image.objects.append(found)

    def _box(self, number: int, box: Any) -> Sequence[float] | None:
        if box is None:
            return None
        numbers = isinstance(box, list) and all(type(side) in (int, float) for side in box)
        if not numbers or len(box) != 4 or not all(abs(side) < _FARTHEST for side in box):
            raise self._fault("annotations", number, f"has the bbox {box!r:.60}, not four numbers")
        if box[2] < 0 or box[3] < 0:
            raise self._fault("annotations", number, f"has the bbox {box} with a negative side")
        return box

    def _fault(self, key: str, number: int, what: str) -> DataError:
        return DataError(f"{self.path}, {key}[{number}]: {what}; correct it.")


def is_outlined(image: InstanceImage, category: int) -> bool:
    """Tell whether all objects of a category, and one at least, have segmentations."""
    own = [item for item in image.objects if item.category == category]
    outlined = all(item.segmentation is not None for item in own)
    return outlined and any(not item.crowd for item in own)


def class_mask(file: Instances, image: InstanceImage, category: int) -> NDArray[np.uint8]:
    """Draw the mask of a category of an image; an object wins over a crowd."""
    width, height = image.size
    mask = np.zeros((height, width), np.uint8)
    own = [item for item in image.objects if item.category == category]
    for item in sorted(own, key=lambda item: not item.crowd):
        try:
            inside = read_segmentation(item.segmentation, height, width)
        except ValueError as error:
            raise DataError(
                f"{file.path}, annotations[{item.number}]: the segmentation is unusable: {error};"
                " correct it."
            ) from None
        mask[inside] = IGNORED if item.crowd else OBJECT
    return mask
