"""Boxes and masks that lie beside photographs: found, read and brought to the photographs."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from learned_saliency.datamodules.readers.boxtables import NotedBox, read_coco, read_table
from learned_saliency.datamodules.readers.imagenames import ImageNames, image_of
from learned_saliency.datamodules.readers.scanning import MASK_FOLDERS, Listing, mask_stem
from learned_saliency.datamodules.readers.voc import read_voc
from learned_saliency.datamodules.readers.walking import (
    AUTO,
    IMAGE_SUFFIXES,
    NOTE_SUFFIXES,
    named_files,
    named_place,
)
from learned_saliency.datamodules.textfile import DataError

_KINDS = {".csv": "CSV", ".json": "COCO", ".xml": "VOC"}
_READERS: Mapping[str, Callable[[Path], list[NotedBox] | None]] = {
    ".csv": read_table,
    ".json": read_coco,
}


class Marks(NamedTuple):
    """Known extents of objects: boxes and masks of photographs.

    Attributes:
        boxes: Boxes by the names of their images.
        masks: Mask files by the names of their images: relative to the root, or absolute.
        remarks: Sentences about what was taken and what was left out.
    """

    boxes: Mapping[str, list[NotedBox]]
    masks: Mapping[str, list[str]]
    remarks: list[str]

    def kinds(self, names: Sequence[str]) -> tuple[bool, bool]:
        """Tell whether any of the photographs has boxes, and whether any has masks."""
        return any(name in self.boxes for name in names), any(name in self.masks for name in names)


def find_marks(listing: Listing, boxes: str, masks: str) -> Marks:
    """Read the boxes and find the masks of photographs.

    Args:
        listing: The folder of the photographs.
        boxes: ``auto`` for CSV, JSON and XML files beside them, ``none``, or a file or folder.
        masks: ``auto`` for the listing's masks, ``none``, or a folder.

    Returns:
        Boxes and masks of the photographs.

    Raises:
        DataError: If a file is not readable, files of several kinds have boxes, or an image of a
            box does not exist or is not clear from its name.
    """
    names = [file.name for file in listing.images]
    class_of = dict(zip(names, (listing.class_names[k] for k in listing.labels), strict=True))
    known, root = ImageNames(names), listing.root
    files = named_files(root, boxes, NOTE_SUFFIXES) or (listing.notes if boxes == AUTO else [])
    found, remarks = _read_boxes(root, [file.name for file in files], known, boxes != AUTO)
    found, others = of_own_class(found, class_of)
    if others:
        remarks.append(f"boxes of other objects than the image's class, left out: {others}.")
    if masks == AUTO:
        pairs = {file.name: _without_mask_folder(file.name) for file in listing.masks}
    else:
        place = named_place(root, masks)
        named = named_files(root, masks, IMAGE_SUFFIXES)
        pairs = {f.name: (root / f.name).relative_to(place).as_posix() for f in named}
    matched, strays = _match_masks(pairs, known)
    return Marks(found, matched, [*remarks, *strays])


def _without_mask_folder(name: str) -> str:
    *folders, last = name.split("/")
    return "/".join([*(part for part in folders if part.lower() not in MASK_FOLDERS), last])


def _read_boxes(
    root: Path, files: Sequence[str], names: ImageNames, sure: bool
) -> tuple[dict[str, list[NotedBox]], list[str]]:
    """Read the boxes of photographs from files of one kind; see `find_marks`.

    Args:
        root: The folder of the photographs.
        files: The files, relative to the root or absolute.
        names: The photographs.
        sure: Whether a person has named the files, so that tables and JSON must have boxes.

    Returns:
        The boxes by the names of the images, and remarks.
    """
    boxes: dict[str, list[NotedBox]] = defaultdict(list)
    sources: dict[str, list[str]] = defaultdict(list)
    strays: list[str] = []
    unknown: list[str] = []
    for file in files:
        suffix = PurePosixPath(file).suffix.lower()
        read = _voc_boxes if suffix == ".xml" else _table_boxes
        found = read(root, file, names)
        if found is None and suffix == ".xml":
            strays.append(file)
        elif found is not None:
            sources[suffix].append(file)
            for image, box in found:
                boxes[image].append(box)
        elif sure:
            raise DataError(
                f"{root / file}: has no boxes that are known: a CSV table has a header such as "
                "image,xmin,ymin,xmax,ymax, and COCO's JSON has images and annotations."
            )
        else:
            unknown.append(file)
    if len(sources) > 1:
        kinds = " and ".join(
            f"{_KINDS[s]} files ({found[0]})" for s, found in sorted(sources.items())
        )
        raise DataError(
            f"{root}: there are boxes in {kinds}; choose by data.reader.boxes=FILE_OR_FOLDER, or "
            "leave them out by data.reader.boxes=none."
        )
    remarks = [
        f"images with boxes: {len(boxes)}, of {_KINDS[suffix]} files: {len(found)}, {found[0]}."
        for suffix, found in sources.items()
    ]
    return dict(boxes), remarks + _tell_unused(strays, unknown)


def _tell_unused(strays: Sequence[str], unknown: Sequence[str]) -> list[str]:
    """Tell of XML files that are of no image, and of tables and JSON files without boxes."""
    remarks = []
    if strays:
        remarks.append(f"XML files of no image: {len(strays)}, such as {strays[0]}.")
    if unknown:
        remarks.append(
            f"CSV and JSON files without boxes that are known: {len(unknown)}, such as "
            f"{unknown[0]}; for boxes a table has a header such as image,xmin,ymin,xmax,ymax."
        )
    return remarks


def _voc_boxes(root: Path, file: str, names: ImageNames) -> list[tuple[str, NotedBox]] | None:
    """Read the boxes of a VOC file, which is of the image of the same name; None for no image."""
    found = names.find(str(PurePosixPath(file).with_suffix("")), str(PurePosixPath(file).parent))
    if len(found) != 1:
        return None
    path = root / file
    return [(found[0], NotedBox(found[0], o.box, o.name, str(path))) for o in read_voc(path)]


def _table_boxes(root: Path, file: str, names: ImageNames) -> list[tuple[str, NotedBox]] | None:
    """Read the boxes of a table or of COCO's JSON, with their images; None for other content."""
    path = PurePosixPath(file)
    boxes = _READERS[path.suffix.lower()](root / file)
    if boxes is None:
        return None
    return [(image_of(box, names, str(path.parent)), box) for box in boxes]


def of_own_class(
    boxes: Mapping[str, list[NotedBox]], class_of: Mapping[str, str]
) -> tuple[dict[str, list[NotedBox]], int]:
    """Leave out boxes of other classes than their image's, where the labels are classes at all.

    Args:
        boxes: Boxes by the names of their images.
        class_of: Names of the images' classes.

    Returns:
        The boxes that are left, and the number of the others.
    """
    classes = {name.casefold() for name in class_of.values()}
    labels = {box.label.casefold() for found in boxes.values() for box in found}
    if not labels & classes:
        return dict(boxes), 0
    kept = {
        image: [box for box in found if box.label.casefold() == class_of[image].casefold()]
        for image, found in boxes.items()
    }
    others = sum(map(len, boxes.values())) - sum(map(len, kept.values()))
    return {image: found for image, found in kept.items() if found}, others


def _match_masks(
    wanted: Mapping[str, str], names: ImageNames
) -> tuple[dict[str, list[str]], list[str]]:
    """Bring masks to the photographs of the same names.

    Args:
        wanted: Names by which mask files are compared, by their paths.
        names: The photographs.

    Returns:
        Masks by the names of the images, and remarks.
    """
    found: dict[str, list[str]] = defaultdict(list)
    strays = []
    for file, name in wanted.items():
        path = PurePosixPath(name)
        images = names.find(str(path.with_name(mask_stem(path.stem))), str(path.parent))
        if len(images) == 1:
            found[images[0]].append(file)
        else:
            strays.append(file)
    remarks = []
    if found:
        remarks.append(f"images with masks: {len(found)}, such as {next(iter(found))}.")
    if strays:
        remarks.append(f"masks of no image, or of several: {len(strays)}, such as {strays[0]}.")
    return dict(found), remarks
