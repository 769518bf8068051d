"""Boxes and masks that lie beside photographs: found, read and brought to the photographs."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from learned_saliency.datamodules.readers.boxtables import NotedBox, read_coco, read_table
from learned_saliency.datamodules.readers.scanning import (
    IMAGE_SUFFIXES,
    MASK_FOLDERS,
    NOTE_SUFFIXES,
    FoundFile,
    Listing,
    mask_stem,
)
from learned_saliency.datamodules.readers.voc import read_voc
from learned_saliency.datamodules.textfile import DataError

AUTO, NONE = "auto", "none"
_NOTE_FOLDERS = frozenset(("annotations", "annotation", "xmls", "xml", "boxes", "labels"))
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


class ImageNames:
    """Images of a folder, found by the names that other files have for them.

    Args:
        names: Names of the images, relative to the root, with ``/``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._by_last: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_last[PurePosixPath(name).name].append(name)
            self._by_last[PurePosixPath(name).stem].append(name)

    def find(self, given: str, folder: str) -> list[str]:
        """Find the images that a name may mean.

        The longest end of the name counts that is the end of an image's path, with its extension or
        without. Of several images those below ``folder`` come first, then those nearest to it.

        Args:
            given: The name: a path relative to anything, with ``/`` or a backslash.
            folder: Folder of the file that has the name, relative to the root.

        Returns:
            The images, one where the name is clear, none where there is no such image.
        """
        parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts:
            return []
        same = self._by_last.get(parts[-1], [])
        for start in range(len(parts)):
            end = parts[start:]
            found = [name for name in same if _ends_with(name, end)]
            if found:
                return _nearest(found, folder)
        return []


def _ends_with(name: str, end: list[str]) -> bool:
    path = name.split("/")
    own = path[-len(end) :]
    return own[:-1] == end[:-1] and len(path) >= len(end)


def _nearest(names: list[str], folder: str) -> list[str]:
    """Keep those of the names that share most folders with ``folder``, from the root down."""
    if len(names) == 1:
        return names
    place = [part for part in folder.split("/") if part.lower() not in _NOTE_FOLDERS]

    def shared(name: str) -> int:
        own = name.split("/")[:-1]
        differing = (i for i, (a, b) in enumerate(zip(place, own, strict=False)) if a != b)
        return next(differing, min(len(place), len(own)))

    most = max(map(shared, names))
    return [name for name in names if shared(name) == most]


def named_place(root: Path, option: str) -> Path | None:
    """Find the file or folder that an option names, relative to the root or the working directory.

    Returns:
        Its absolute path; None for ``auto`` and ``none``.

    Raises:
        DataError: If there is no such file.
    """
    if option in (AUTO, NONE):
        return None
    places = [root / Path(option).expanduser(), Path(option).expanduser().absolute()]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise DataError(f"{places[0]}: is no file or folder, nor is {places[1]}; correct the path.")
    return found


def named_files(root: Path, option: str, suffixes: frozenset[str]) -> list[FoundFile]:
    """List the files that an option names: one, or those below a folder.

    Args:
        root: The folder of the photographs.
        option: See `named_place`.
        suffixes: Endings of the files, in small letters.

    Returns:
        The files, their names relative to the root where they lie below it, absolute elsewhere.

    Raises:
        DataError: If there is no such file.
    """
    place = named_place(root, option)
    if place is None:
        return []
    paths = [place] if place.is_file() else sorted(place.rglob("*"))
    paths = [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]
    if not paths:
        kinds = ", ".join(sorted(suffixes))
        raise DataError(f"{place}: holds no files of the kinds {kinds}; correct the path.")
    return [_found(root, path) for path in paths]


def _found(root: Path, path: Path) -> FoundFile:
    name = path.relative_to(root) if path.is_relative_to(root) else path
    facts = path.stat()
    return FoundFile(name.as_posix(), facts.st_size, facts.st_mtime_ns)


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


def image_of(box: NotedBox, names: ImageNames, folder: str) -> str:
    """Find the image of a box, by the name that its file has for it; see `ImageNames.find`.

    Raises:
        DataError: If there is no such image, or the name is that of several.
    """
    found = names.find(box.image, folder)
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(
            f"{box.where}: there is no image {box.image!r}; restore it or remove its boxes."
        )
    raise DataError(
        f"{box.where}: {box.image!r} may be {found[0]} or {found[1]}; write its folder, too."
    )


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
