"""Metadata of images with any number of classes each, and the samples that they are scored by."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.metadata import (
    SplitMetadata,
    check_boxes,
    read_boxes_and_masks,
    read_image_ids,
    read_per_image,
)
from learned_saliency.datamodules.textfile import (
    DataError,
    is_integer,
    line_error,
    look_up,
    read_columns,
    read_lines,
    read_numbers,
)

_LABEL_LINE = "id,label"
_BOX_LINE = "id,x0,y0,x1,y1,label"
_MASK_LINE = "id,mask_path,ignore_path,label"
_MOST_CLASSES = 100_000  # several times the classes of the largest data sets


def read_multilabel_split(folder: Path, *, localization: bool) -> SplitMetadata:
    """Read one split of a data set whose images have any number of classes each.

    The files are those of `read_split` with these differences. ``class_labels.txt`` has a line
    ``id,label`` for each class of an image; an image without a line has none of the classes. Lines
    of ``localization.txt`` and ``masks.txt`` end with the class of the box or mask:
    ``id,x0,y0,x1,y1,label`` and ``id,mask_path,ignore_path,label``; there need be none of an image
    or class, and ``mask_path`` may be empty where there is an ``ignore_path``.

    With ``localization`` an entry of the result is a *sample*, an image with one of its classes:
    ``labels`` has the class, boxes and masks are those of that class, maybe none, and the id names
    both, ``photos/a#7.jpg`` for class 7 of ``photos/a.jpg``. An image without a class is one sample
    of the label -1 and keeps its id. Without ``localization`` an entry is an image, and ``labels``
    has the first of its classes, -1 where it has none.

    Args:
        folder: For instance ``metadata/val``.
        localization: Whether to read boxes and masks, see `read_split`.

    Returns:
        The split's metadata in the order of ``image_ids.txt``, with ``presence``, whose C' is 1 +
        the largest label.

    Raises:
        DataError: See `read_split`; also if a label is negative, an image has a label twice, or a
            box or mask is of a class that its image does not have.
    """
    index = read_image_ids(folder)
    presence = _read_presence(folder / "class_labels.txt", index)
    if not localization:
        labels = np.where(presence.any(1), presence.argmax(1), UNKNOWN)
        return SplitMetadata(folder, list(index), labels, presence=presence)
    return _read_samples(folder, index, presence)


def sample_name(image_id: str, label: int) -> str:
    """Name the sample of an image and a class; the image's own id where the class is -1."""
    if label == UNKNOWN:
        return image_id
    stem, suffix = os.path.splitext(image_id)
    return f"{stem}#{label}{suffix}"


def _read_presence(path: Path, index: dict[str, int]) -> np.ndarray:
    """Read which classes each image has, bool (N, C')."""
    if not any(line.strip() for line in read_lines(path)):
        raise DataError(f"{path}: names no class; write a line `{_LABEL_LINE}` per class.")
    ids, numbers = read_numbers(path, _LABEL_LINE)
    images, labels = look_up(path, ids, index, complete=False), numbers[:, 0]
    wrong = (labels < 0) | (labels >= _MOST_CLASSES)
    if wrong.any():
        row = int(wrong.argmax())
        raise line_error(
            path,
            row,
            f"label {labels[row]} is out of range 0..{_MOST_CLASSES - 1}; leave the line out where"
            " the image has none of the classes.",
        )
    pairs = images * _MOST_CLASSES + labels
    first = np.unique(pairs, return_index=True)[1]
    if len(first) < len(pairs):
        row = int(np.setdiff1d(np.arange(len(pairs)), first)[0])
        raise line_error(path, row, f"{ids[row]} has label {labels[row]} twice; remove one.")
    presence = np.zeros((len(index), 1 + int(labels.max())), dtype=bool)
    presence[images, labels] = True
    return presence


def _read_samples(folder: Path, index: dict[str, int], presence: np.ndarray) -> SplitMetadata:
    """Make samples of a split, with what there is of boxes and masks."""
    none = np.flatnonzero(~presence.any(1))
    images, labels = np.nonzero(presence)
    images, labels = np.append(images, none), np.append(labels, np.full(len(none), UNKNOWN))
    order = np.argsort(images, kind="stable")
    images, labels = images[order], labels[order]
    files = list(index)
    ids = [sample_name(files[i], c) for i, c in zip(images.tolist(), labels.tolist(), strict=True)]
    _check_names(folder, ids, [files[i] for i in images])
    places = {pair: k for k, pair in enumerate(zip(images.tolist(), labels.tolist(), strict=True))}
    of_samples = {"index": index, "places": places}
    readers = partial(_read_boxes, **of_samples), partial(_read_masks, **of_samples)
    found = read_boxes_and_masks(folder, *readers, _MASK_LINE)
    if "sizes" in found:
        found["sizes"] = found["sizes"][images]
    return SplitMetadata(
        folder,
        ids,
        labels.astype(np.int64),
        presence=presence[images],
        sources=[files[i] for i in images],
        **found,
    )


def _check_names(folder: Path, ids: Sequence[str], files: Sequence[str]) -> None:
    """Check that no image has the name of another image's sample."""
    owners: dict[str, str] = {}
    for name, file in zip(ids, files, strict=True):
        if (other := owners.setdefault(name, file)) != file:
            raise DataError(
                f"{folder / 'image_ids.txt'}: {file} and {other} are told apart by what names"
                f" their classes, {name}; rename one."
            )


def _read_boxes(
    path: Path, index: dict[str, int], places: dict[tuple[int, int], int]
) -> dict[str, object]:
    sizes = read_per_image(path.parent / "image_sizes.txt", "id,width,height", index)
    ids, numbers = read_numbers(path, _BOX_LINE)
    images = look_up(path, ids, index, complete=False)
    boxes = np.ascontiguousarray(numbers[:, :4])
    check_boxes(path, boxes, sizes[images])
    samples = _look_up_samples(path, ids, images, numbers[:, 4].tolist(), places)
    order = np.argsort(samples, kind="stable")
    return {"sizes": sizes, "boxes": boxes[order], "box_images": samples[order]}


def _read_masks(
    path: Path, index: dict[str, int], places: dict[tuple[int, int], int]
) -> dict[str, object]:
    ids, *paths, texts = read_columns(path, _MASK_LINE)
    images = look_up(path, ids, index, complete=False)
    for row, text in enumerate(texts):
        if not is_integer(text):
            raise line_error(path, row, f"{text[:40]!r} is no label; write `{_MASK_LINE}`.")
    samples = _look_up_samples(path, ids, images, list(map(int, texts)), places)
    masks: list[list[str]] = [[] for _ in places]
    ignores: list[list[str]] = [[] for _ in places]
    for row, (sample, mask, ignore) in enumerate(zip(samples.tolist(), *paths, strict=True)):
        if not mask and not ignore:
            raise line_error(path, row, f"both paths are empty; write `{_MASK_LINE}`.")
        masks[sample] += [mask] * bool(mask)
        ignores[sample] += [ignore] * bool(ignore)
    return {"mask_paths": masks, "ignore_paths": ignores, "mask_file": path}


def _look_up_samples(
    path: Path,
    ids: Sequence[str],
    images: np.ndarray,
    labels: Sequence[int],
    places: dict[tuple[int, int], int],
) -> np.ndarray:
    """Find the sample of each line, int64."""
    pairs = list(zip(images.tolist(), labels, strict=True))
    for row, pair in enumerate(pairs):
        if pair[1] == UNKNOWN or pair not in places:
            raise line_error(
                path,
                row,
                f"{ids[row]} has no label {pair[1]} in class_labels.txt; add it there or correct"
                " the label.",
            )
    return np.array([places[pair] for pair in pairs], dtype=np.int64).reshape(-1)
