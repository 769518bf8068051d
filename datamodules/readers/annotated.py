"""Splits of images whose objects are annotated, with several boxes each."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.readers.voc import NamedBox, read_voc
from learned_saliency.datamodules.readers.writing import SplitRows
from learned_saliency.datamodules.textfile import DataError


class AnnotatedImage(NamedTuple):
    """Image with its objects.

    Attributes:
        id: Path relative to the root.
        class_name: Name of its class.
        source: File that lists the objects, for messages.
        objects: Objects of any class, of which those of the image's own class count.
    """

    id: str
    class_name: str
    source: Path
    objects: Sequence[NamedBox]


def read_all_voc(paths: Sequence[Path]) -> list[list[NamedBox]]:
    """Read annotations in threads; see `read_voc`."""
    with ThreadPoolExecutor(max_workers=min(16, 4 * (os.cpu_count() or 1))) as pool:
        return list(pool.map(read_voc, paths, chunksize=64))


def annotated_split(
    root: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]
) -> SplitRows:
    """Make the rows of a split with the boxes of the images' own classes.

    Boxes are truncated to integers and end at the last pixel of the image, as in the WSOL
    benchmark. Image sizes are read from the image files.

    Args:
        root: Folder that ids are relative to.
        images: The images.
        classes: Names of all classes in the order of the labels.

    Returns:
        The rows, in the order of the images.

    Raises:
        DataError: If an image is missing or not readable, is of no known class, has no object of
            its class, or a box lies outside of it.
    """
    labels = {name: label for label, name in enumerate(classes)}
    sizes, broken = read_sizes([root / image.id for image in images])
    if broken:
        first = min(broken)
        raise DataError(
            f"{root / images[first].id}: the image cannot be read ({broken[first]}); restore it."
        )
    boxes: list[np.ndarray] = []
    owners: list[str] = []
    for image, size in zip(images, sizes, strict=True):
        found = [box for name, box in image.objects if name == image.class_name]
        if not found:
            which = f" of the class {image.class_name}" if image.class_name else ""
            raise DataError(f"{image.source}: has no object{which} for {image.id}; correct it.")
        if image.class_name not in labels:
            raise DataError(
                f"{image.source}: the class {image.class_name[:40]} of {image.id} has no training"
                " images; correct it."
            )
        boxes += [_inside(box, size, image) for box in found]
        owners += [image.id] * len(found)
    own = [labels[image.class_name] for image in images]
    ids = [image.id for image in images]
    return SplitRows(ids, own, sizes, np.array(boxes, np.int64).reshape(-1, 4), owners)


def _inside(box: tuple[float, ...], size: np.ndarray, image: AnnotatedImage) -> np.ndarray:
    """Truncate a box and cut it at the last pixels of an image of the given width and height."""
    corners = np.array(box)
    if (corners[:2] >= size).any() or (corners[2:] < 0).any():
        text = ",".join(f"{corner:g}" for corner in box)
        raise DataError(
            f"{image.source}: the box {text} lies outside of {image.id}, {size[0]}x{size[1]}"
            " pixels; correct it."
        )
    return np.clip(np.clip(corners, -1, 1e9).astype(np.int64), 0, np.tile(size, 2) - 1)
