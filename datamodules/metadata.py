"""Reader and checks of the public WSOL benchmark's metadata format (Choe et al., CVPR 2020)."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from learned_saliency.datamodules.textfile import (
    DataError,
    is_integer,
    line_error,
    look_up,
    read_columns,
    read_lines,
    read_numbers,
)

SPLITS = ("train", "val", "test")
_BOX_LINE = "id,x0,y0,x1,y1"
_MASK_LINE = "id,mask_path,ignore_path"


@dataclass(frozen=True)
class SplitMetadata:
    """Metadata of the N images of one split, from its text files.

    Attributes:
        folder: The split's folder of text files.
        image_ids: N paths relative to the root of the images.
        labels: Classes, int64 of shape (N,), -1 where unknown; `check_labels` checks their range.
        sizes: Width and height in pixels, int64 of shape (N, 2); None without boxes.
        boxes: All M boxes in file order, int64 of shape (M, 4), x0 y0 x1 y1 in pixels of the
            original image; None where the split has none.
        box_images: The image index of each box, int64 of shape (M,); None without boxes.
        mask_paths: Paths of the instance masks per image; None where the split has none.
        ignore_paths: Paths of the ignore masks per image; None without masks.
        mask_file: The text file which lists the masks; None without masks.
        presence: Classes of each image, bool of shape (N, C'); None where every image has one. In a
            split with localization each of the N entries then is a sample, an image with one of its
            classes, whose boxes and masks are of that class; see `read_multilabel_split`.
        values: Values of each image, float64 of shape (N, T), in regression; else None.
        sources: N paths of the images where ``image_ids`` name samples; None where they are paths.
    """

    folder: Path
    image_ids: list[str]
    labels: np.ndarray
    sizes: np.ndarray | None = None
    boxes: np.ndarray | None = None
    box_images: np.ndarray | None = None
    mask_paths: list[list[str]] | None = None
    ignore_paths: list[list[str]] | None = None
    mask_file: Path | None = None
    presence: np.ndarray | None = None
    values: np.ndarray | None = None
    sources: list[str] | None = None

    @property
    def files(self) -> list[str]:
        """N paths of the images relative to their root."""
        return self.image_ids if self.sources is None else self.sources

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    def digest(self) -> str:
        """Return a hexadecimal digest of the ids and labels in their order."""
        digest = hashlib.sha256("\n".join(self.image_ids).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        for told in (self.presence, self.values):
            digest.update(b"" if told is None else np.ascontiguousarray(told).tobytes())
        return digest.hexdigest()


def read_split(folder: Path, *, localization: bool) -> SplitMetadata:
    """Read one split's folder of text files.

    ``image_ids.txt`` and ``class_labels.txt`` (``id,label``) are always read. With ``localization``
    so are ``localization.txt``, which holds either boxes (``id,x0,y0,x1,y1``, one line per box) or
    masks (``id,mask_path,ignore_path``, one line per instance, ``ignore_path`` may be empty), with
    boxes ``image_sizes.txt`` (``id,width,height``), and where it exists ``masks.txt``, which gives
    masks to a split that has boxes. A split with none of these three files has labels alone.

    Args:
        folder: For instance ``metadata/val``.
        localization: Whether to read boxes and masks. A training split is read without them,
            whatever lies in its folder: a weakly supervised method must not see them.

    Returns:
        The split's metadata, images in the order of ``image_ids.txt``.

    Raises:
        DataError: If a file is missing or not text, a line has the wrong number of fields or a
            field that is no integer, the split is empty, an image is listed twice or not in every
            file, or a box is inverted or reaches out of its image. A box may end at the last
            pixel or, as in some annotations, at the width and height themselves.
    """
    index = read_image_ids(folder)
    labels = read_per_image(folder / "class_labels.txt", "id,label", index)[:, 0]
    found = read_localization(folder, index) if localization else {}
    return SplitMetadata(folder, list(index), labels, **found)


def read_image_ids(folder: Path) -> dict[str, int]:
    """Read a split's ``image_ids.txt``; return the index of each image.

    Raises:
        DataError: If the folder is missing, or the file is empty or lists an image twice.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: this folder of metadata is missing; create it, or point `metadata` to the"
            f" folder which holds {', '.join(SPLITS)}."
        )
    source = folder / "image_ids.txt"
    (image_ids,) = read_columns(source, "id")
    if not image_ids:
        raise DataError(f"{source}: the split is empty; list at least one image, one id per line.")
    index = {image_id: i for i, image_id in enumerate(image_ids)}
    if len(index) < len(image_ids):
        twice = _first_repeat(np.array(image_ids))
        raise line_error(source, twice, f"{image_ids[twice]} is listed twice; remove one.")
    return index


def _first_repeat(values: np.ndarray) -> int:
    """Find the first entry that has occurred before; the caller knows that there is one."""
    first = np.unique(values, return_index=True)[1]
    return int(np.setdiff1d(np.arange(len(values)), first)[0])


def read_per_image(path: Path, form: str, index: dict[str, int]) -> np.ndarray:
    """Read exactly one row of integers per image; (N, fields - 1) in the images' order.

    Raises:
        DataError: If the file is malformed, or an image has no line or two.
    """
    ids, numbers = read_numbers(path, form)
    found = look_up(path, ids, index)
    if len(found) > len(index):
        row = _first_repeat(found)
        raise line_error(path, row, f"{ids[row]} is listed twice; remove one.")
    ordered = np.empty_like(numbers)
    ordered[found] = numbers
    return ordered


def read_localization(folder: Path, index: dict[str, int]) -> dict[str, object]:
    """Read boxes, masks or both of images as keyword arguments of ``SplitMetadata``.

    Args:
        folder: Folder of the split.
        index: Index of each image.

    Raises:
        DataError: See `read_split`.
    """
    readers = partial(_read_boxes, index=index), partial(_read_masks, index=index)
    return read_boxes_and_masks(folder, *readers, _MASK_LINE)


def read_boxes_and_masks(
    folder: Path,
    read_boxes: Callable[[Path], dict[str, object]],
    read_masks: Callable[[Path], dict[str, object]],
    mask_line: str,
) -> dict[str, object]:
    """Find out which files there are of boxes and masks, and read them.

    Args:
        folder: Folder of the split.
        read_boxes: Reader of a file of boxes.
        read_masks: Reader of a file of masks.
        mask_line: Form of a line of masks, which has two fields less than one of boxes.

    Raises:
        DataError: If masks are listed in two files, or a reader raises it.
    """
    path, extra = folder / "localization.txt", folder / "masks.txt"
    if not any(os.path.lexists(file) for file in (path, extra, folder / "image_sizes.txt")):
        return {}
    if lists_masks(read_lines(path), mask_line):
        if os.path.lexists(extra):
            raise DataError(f"{extra}: {path.name} lists masks already; remove one of the two.")
        return read_masks(path)
    found = read_boxes(path)
    return found | (read_masks(extra) if os.path.lexists(extra) else {})


def lists_masks(lines: Sequence[str], mask_line: str) -> bool:
    """Tell by the first line of a list that is not blank whether it is one of masks, not of boxes.

    Args:
        lines: The lines.
        mask_line: See `read_boxes_and_masks`.
    """
    first = next((line.strip() for line in lines if line.strip()), "")
    commas = mask_line.count(",")
    fields = first.rsplit(",", commas)
    return len(fields) > commas and not is_integer(fields[1]) and first.count(",") < commas + 2


def _read_boxes(path: Path, index: dict[str, int]) -> dict[str, object]:
    ids, boxes = read_numbers(path, _BOX_LINE)
    images = look_up(path, ids, index)
    sizes = read_per_image(path.parent / "image_sizes.txt", "id,width,height", index)
    check_boxes(path, boxes, sizes[images])
    return {"sizes": sizes, "boxes": boxes, "box_images": images}


def check_boxes(path: Path, boxes: np.ndarray, limits: np.ndarray) -> None:
    """Check boxes (M, 4), a line each, against width and height of their images (M, 2).

    Raises:
        DataError: If a box is inverted or outside; see `read_split`.
    """
    x0y0, x1y1 = boxes[:, :2], boxes[:, 2:]
    inverted = (x0y0 > x1y1).any(1)
    wrong = inverted | (x0y0 < 0).any(1) | (x1y1 > limits).any(1) | (x0y0 >= limits).any(1)
    if wrong.any():
        row = int(wrong.argmax())
        outside = "lies outside the image of {}x{} pixels".format(*limits[row])
        what = "is inverted" if inverted[row] else outside
        box = ",".join(map(str, boxes[row]))
        raise line_error(path, row, f"the box {box} {what}; correct x0,y0,x1,y1 or the size.")


def _read_masks(path: Path, index: dict[str, int]) -> dict[str, object]:
    ids, *paths = read_columns(path, _MASK_LINE)
    images = look_up(path, ids, index)
    masks: list[list[str]] = [[] for _ in index]
    ignores: list[list[str]] = [[] for _ in index]
    for i, (image, mask, ignore) in enumerate(zip(images, *paths, strict=True)):
        if not mask:
            raise line_error(path, i, f"the mask's path is empty; write `{_MASK_LINE}`.")
        masks[image].append(mask)
        if ignore:
            ignores[image].append(ignore)
    return {"mask_paths": masks, "ignore_paths": ignores, "mask_file": path}
