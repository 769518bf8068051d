"""Boxes in files of annotation tools: CSV tables and COCO's JSON."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from learned_saliency.datamodules.textfile import DataError, read_text

IMAGE_COLUMNS = (
    *("image", "image_path", "filename", "file_name", "file", "path", "image_name", "img_path"),
    *("image_id", "imageid", "img", "name"),
)
_LABEL_COLUMNS = ("label", "class", "class_name", "category", "name")
_CORNER_COLUMNS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
)
_SIDE_COLUMNS = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
)


class NotedBox(NamedTuple):
    """Box of an annotation file.

    Attributes:
        image: Name of the image, as the file has it.
        corners: x0 y0 x1 y1 in pixels, finite, not inverted.
        label: Name of the object's class; empty where there is none.
        where: Place of the box in the file, for messages.
    """

    image: str
    corners: tuple[float, float, float, float]
    label: str
    where: str


def read_table(path: Path) -> list[NotedBox] | None:
    """Read the boxes of a CSV file with a header.

    Columns are known by their names, in any case: ``image`` (or ``filename``, ``image_path``, ...),
    four corners (``xmin,ymin,xmax,ymax``, ``x0,y0,x1,y1``, ``left,top,right,bottom``, ...) or a
    corner and two sides (``x,y,width,height``), and ``label`` (or ``class``), which may be missing.
    They are separated by commas, semicolons or tabulators. A row whose numbers are missing or all 0
    says that an image has no object.

    Args:
        path: The file.

    Returns:
        The boxes in the file's order; None for a table of something else.

    Raises:
        DataError: If the file is not readable, or a box is not four finite numbers, is inverted or
            in fractions of the image.
    """
    lines = read_text(path).splitlines()
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().strip('"').lower() for name in header.split(delimiter)]
    columns = _find_columns(names)
    if columns is None:
        return None
    found, fractions = [], True
    for number, row in _rows(path, lines, delimiter):
        fields = dict(zip(names, row, strict=False))
        texts = [(fields.get(name) or "").strip() for name in columns["box"]]
        image = (fields.get(columns["image"]) or "").strip()
        where = f"{path}, line {number}"
        if not any(texts):
            continue
        numbers = _four_numbers(texts, where)
        if not any(numbers):
            continue
        fractions = fractions and all(0 <= value <= 1 for value in numbers)
        box = checked_box(numbers, columns["sides"], where)
        if not image:
            raise DataError(f"{where}: the name of the image is missing; write it.")
        found.append(NotedBox(image, box, (fields.get(columns["label"]) or "").strip(), where))
    if found and fractions:
        raise DataError(
            f"{path}: its boxes are fractions of the image; write them in pixels, or leave boxes "
            "out by data.reader.boxes=none."
        )
    return found


def _find_columns(names: Sequence[str]) -> dict[str, Any] | None:
    """Find the columns of image, box and label by their names."""
    there = set(names)
    image = next((name for name in IMAGE_COLUMNS if name in there), None)
    corners = next((four for four in _CORNER_COLUMNS if there.issuperset(four)), None)
    sides = next((four for four in _SIDE_COLUMNS if there.issuperset(four)), None)
    if image is None or (corners is None and sides is None):
        return None
    label = next((name for name in _LABEL_COLUMNS if name in there and name != image), "")
    # corners come first: beside xmin,..., width and height are often those of the image
    return {"image": image, "box": corners or sides, "sides": corners is None, "label": label}


def _rows(path: Path, lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows below the header with the numbers of their lines, blank ones left out."""
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for row in reader:
            if reader.line_num > 1 and any(field.strip() for field in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; correct it.") from None


def read_coco(path: Path) -> list[NotedBox] | None:
    """Read the boxes of a JSON file in COCO's format for object detection.

    Boxes of crowds (``iscrowd``) are left out. Only boxes count; segmentations are not read.

    Args:
        path: The file.

    Returns:
        The boxes in the file's order; None for JSON of something else.

    Raises:
        DataError: If the file is no JSON, an image or category is listed twice or an annotation has
            an unknown one, or a box is not four finite numbers or has negative sides.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: is no readable JSON ({error}); replace it, or leave boxes out by "
            "data.reader.boxes=none."
        ) from None
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        return None
    images = _by_id(path, content, "images", "file_name")
    categories = _by_id(path, content, "categories", "name")
    found = []
    for number, annotation in enumerate(_records(path, content, "annotations")):
        where = f"{path}, annotations[{number}]"
        if annotation.get("iscrowd") or "bbox" not in annotation:
            continue
        image_id = annotation.get("image_id")
        if _key(image_id) not in images:
            raise DataError(f"{where}: image_id {image_id!r:.40} is not in images; correct it.")
        box = annotation["bbox"]
        texts = [*map(str, box)] if isinstance(box, list) else [str(box)]
        corners = checked_box(_four_numbers(texts, where), True, where)
        label = categories.get(_key(annotation.get("category_id")), "")
        found.append(NotedBox(images[_key(image_id)], corners, label, where))
    return found


def _by_id(path: Path, content: Mapping[str, Any], key: str, field: str) -> dict[str, str]:
    """Read a field of the records of a list by the records' ids."""
    found: dict[str, str] = {}
    for number, record in enumerate(_records(path, content, key)):
        name, record_id = record.get(field), record.get("id")
        if not isinstance(name, str) or not isinstance(record_id, int | str):
            raise DataError(f"{path}, {key}[{number}]: has no id or no {field}; correct it.")
        if _key(record_id) in found:
            raise DataError(
                f"{path}, {key}[{number}]: id {record_id!r:.40} is used twice; correct it."
            )
        found[_key(record_id)] = name
    return found


def _records(path: Path, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = content.get(key) or []
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise DataError(f"{path}: {key} is no list of records; correct it.")
    return found


def _key(value: Any) -> str:
    """Turn an id into a text: some tools write 1 in one list and "1" in the other."""
    return str(value)


def _four_numbers(texts: Sequence[str], where: str) -> tuple[float, float, float, float]:
    try:
        x, y, right, bottom = numbers = tuple(map(float, texts))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: the box {','.join(texts)[:60]} is not four numbers; correct it.")
    return x, y, right, bottom


def checked_box(
    numbers: tuple[float, float, float, float], sides: bool, where: str
) -> tuple[float, float, float, float]:
    """Turn a box into corners, which must not be inverted.

    Args:
        numbers: Corners x0 y0 x1 y1 in pixels, or with ``sides`` a corner, width and height.
        sides: See above.
        where: Place of the box, for a message.

    Raises:
        DataError: If it is inverted or a number is not finite.
    """
    x, y, right, bottom = numbers
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: the box {numbers} is not four finite numbers; correct it.")
    corners = (x, y, x + right, y + bottom) if sides else numbers
    if corners[2] < x or corners[3] < y:
        text = ",".join(f"{value:g}" for value in numbers)
        fault = "has a negative side" if sides else "is inverted"
        raise DataError(f"{where}: the box {text} {fault}; correct it.")
    return corners
