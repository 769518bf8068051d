"""Metadata of images with values instead of classes, and the samples that they are scored by."""

from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.metadata import (
    SplitMetadata,
    read_image_ids,
    read_localization,
)
from learned_saliency.datamodules.multilabel import sample_name
from learned_saliency.datamodules.textfile import (
    DataError,
    line_error,
    look_up,
    read_columns,
    read_lines,
)

VALUE_LINE = "id,value"


def read_regression_split(folder: Path, *, localization: bool) -> SplitMetadata:
    """Read one split of a data set whose images have T values each.

    The files are those of `read_split` with ``values.txt`` in place of ``class_labels.txt``: a line
    ``id,value`` per image, or ``id,value,value`` and so on, equally many values of each.

    With ``localization`` an entry of the result is a *sample*, an image with one of its values,
    whose number is the label: boxes and masks are those of the image. Of several values the id
    names that one, ``photos/a#1.jpg`` for value 1 of ``photos/a.jpg``. Otherwise an entry is an
    image, and all labels are 0.

    Args:
        folder: For instance ``metadata/val``.
        localization: Whether to read boxes and masks, see `read_split`.

    Raises:
        DataError: See `read_split`; also if a value is no finite number.
    """
    index = read_image_ids(folder)
    values = _read_values(folder / "values.txt", index)
    found = read_localization(folder, index) if localization else {}
    labels = np.zeros(len(index), dtype=np.int64)
    metadata = SplitMetadata(folder, list(index), labels, values=values, **found)
    return _of_each_value(metadata) if localization and values.shape[1] > 1 else metadata


def _read_values(path: Path, index: dict[str, int]) -> np.ndarray:
    """Read T values of each image, float64 (N, T)."""
    width = count_values(path)
    ids, *columns = read_columns(path, ",".join(["id", *["value"] * width]))
    images = look_up(path, ids, index)
    if len(images) > len(index):
        row = int(np.setdiff1d(np.arange(len(images)), np.unique(images, return_index=True)[1])[0])
        raise line_error(path, row, f"{ids[row]} is listed twice; remove one.")
    values = np.empty((len(index), width))
    for row, texts in enumerate(zip(*columns, strict=True)):
        for column, text in enumerate(texts):
            if (number := read_value(text)) is None:
                told = f"{text[:40]!r} is no finite number; write `{VALUE_LINE}`."
                raise line_error(path, row, told)
            values[images[row], column] = number
    return values


def count_values(path: Path) -> int:
    """Count the numbers at the end of the first line, at least 1; an id may hold commas.

    Raises:
        DataError: If the file is missing, no text or empty.
    """
    first = next((line.strip() for line in read_lines(path) if line.strip()), None)
    if first is None:
        raise DataError(f"{path}: holds no value; write a line `{VALUE_LINE}` per image.")
    numbers = takewhile(lambda text: read_value(text) is not None, reversed(first.split(",")[1:]))
    return max(1, len(list(numbers)))


def read_value(text: str) -> float | None:
    """Read a finite number; None where a text is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) and "_" not in text else None


def _of_each_value(metadata: SplitMetadata) -> SplitMetadata:
    """Repeat each image for each of its values."""
    count, width = metadata.values.shape
    images, labels = np.repeat(np.arange(count), width), np.tile(np.arange(width), count)
    files = [metadata.image_ids[i] for i in images]
    found: dict[str, object] = {}
    if metadata.boxes is not None:
        shifts = np.repeat(np.arange(width), len(metadata.boxes))
        found["boxes"] = np.tile(metadata.boxes, (width, 1))
        found["box_images"] = np.tile(metadata.box_images, width) * width + shifts
        found["sizes"] = metadata.sizes[images]
    if metadata.mask_paths is not None:
        found["mask_paths"] = [metadata.mask_paths[i] for i in images]
        found["ignore_paths"] = [metadata.ignore_paths[i] for i in images]
    names = [sample_name(file, label) for file, label in zip(files, labels.tolist(), strict=True)]
    return replace(
        metadata,
        image_ids=names,
        sources=files,
        labels=labels,
        values=metadata.values[images],
        **found,
    )
