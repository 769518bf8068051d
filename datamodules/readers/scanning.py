"""Listing of a folder of photographs: splits, classes and images, and what is left out."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from learned_saliency.datamodules.decoding import COLORS
from learned_saliency.datamodules.textfile import DataError

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"),
        *(".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi", ".tga"),
    )
)
ARRAY_SUFFIXES = frozenset((".npy",))  # images where these keep their channels and their depth
NOTE_SUFFIXES = frozenset((".csv", ".json", ".xml"))  # files that may hold boxes
_UNREAD_SUFFIXES = frozenset(  # photographs that the one reader of images does not decode
    (".heic", ".heif", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".svg")
)
SPELLINGS = {  # names of splits in other data sets
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MASK_FOLDERS = frozenset(("masks", "mask", "segmentations"))
_SYSTEM = frozenset(("__macosx", "@eadir", "thumbs.db", "desktop.ini"))


class FoundFile(NamedTuple):
    """File below a root.

    Attributes:
        name: Its path relative to the root, with ``/``.
        size: Its size in bytes.
        changed: Time of its last change in nanoseconds.
    """

    name: str
    size: int
    changed: int

    @property
    def folders(self) -> list[str]:
        """Names of the folders on the way to the file."""
        return self.name.split("/")[:-1]


def listing_digest(files: Iterable[FoundFile]) -> str:
    """Return a hexadecimal digest of the names, sizes and times of files."""
    facts = "\n".join(f"{size} {changed} {name}" for name, size, changed in files)
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Listing:
    """Content of a folder of photographs.

    Attributes:
        root: The folder.
        class_names: Names of the class folders, sorted; the labels are their indices.
        images: The images, in the order of their names.
        labels: The class of each.
        splits: The split in whose folder each lies; empty texts where there are no such folders.
        notes: Files that may hold boxes.
        masks: Images in folders of masks.
        remarks: Sentences about what is left out.
    """

    root: Path
    class_names: list[str]
    images: list[FoundFile]
    labels: list[int]
    splits: list[str]
    notes: list[FoundFile]
    masks: list[FoundFile]
    remarks: list[str]


def image_suffixes(channels: int) -> frozenset[str]:
    """Return the extensions of images of a number of channels; 3 are colors, of any kind of file.

    Arrays that lie beside photographs are masks or maps, and no images of a set in colors.
    """
    return IMAGE_SUFFIXES if channels == COLORS else IMAGE_SUFFIXES | ARRAY_SUFFIXES


def list_photos(
    root: Path,
    *,
    find_masks: bool = True,
    leave_out: Path | None = None,
    channels: int = COLORS,
) -> Listing:
    """List a folder of photographs, with a folder for each class, or for each split and class.

    Extensions count in any case, and folders within a class belong to it. Hidden files, files that
    are no images and images beside the class folders are counted in the remarks.

    Args:
        root: The folder.
        find_masks: Whether folders named ``masks`` and the like hold masks, if most of their files
            have the names of images; otherwise they are classes like others.
        leave_out: A folder of which nothing is listed.
        channels: Number of channels of the images, see `image_suffixes`.

    Returns:
        Its content, without opening a file.

    Raises:
        DataError: If the folder holds no images, no class folders, a single class, evaluation
            splits without a training split, or a class that the training split lacks, or if a name
            cannot be written to a text file.
    """
    walk = Walk(root, leave_out, channels)
    found = sorted(walk.files())
    images, masks = _without_masks(found, find_masks)
    folders = _split_folders(root, images)
    depth = 2 if folders else 1
    placed = _placed(images, folders)
    splits = [folders.get(file.folders[0], "") for file in placed]
    classes = [file.folders[depth - 1] for file in placed]
    names = sorted(set(classes))
    _check_classes(root, placed, classes, splits)
    for file in placed:
        check_name(root, file.name)
    notes = [file for file in found if _suffix(file.name) in NOTE_SUFFIXES]
    remarks = [*_spelled_alike(names), *_left_out(images, placed)]
    remarks += [*_no_classes(walk, [*placed, *masks, *notes], folders), *walk.remarks()]
    numbers = {name: label for label, name in enumerate(names)}
    labels = [numbers[name] for name in classes]
    return Listing(root, names, placed, labels, splits, notes, masks, remarks)


class Walk:
    """Walk through all files below a folder; links are followed, but not in circles.

    Args:
        root: The folder.
        leave_out: A folder of which nothing is listed.
        channels: Number of channels of the images, see `image_suffixes`.
    """

    def __init__(self, root: Path, leave_out: Path | None, channels: int = COLORS) -> None:
        self.root, self.leave_out = root, leave_out
        self._taken = image_suffixes(channels) | NOTE_SUFFIXES
        self.hidden = 0
        self.others: Counter[str] = Counter()  # files that are neither images nor notes
        self.folders: list[str] = []

    def files(self) -> Iterator[FoundFile]:
        """Yield images and notes."""
        yield from self._below("", frozenset())

    def _below(self, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[FoundFile]:
        place = self.root / folder
        try:
            found = os.stat(place)
            here = (found.st_dev, found.st_ino)
            entries = [] if here in above else sorted(os.scandir(place), key=lambda e: e.name)
        except OSError as error:
            raise DataError(
                f"{place}: cannot be listed ({error.strerror}); allow it, or move it away."
            ) from None
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
                self.hidden += 1
            elif self.root / name == self.leave_out:
                continue
            elif entry.is_dir():
                self.folders.append(name)
                yield from self._below(name, above | {here})
            elif _suffix(name) in self._taken and entry.is_file():
                facts = entry.stat()
                yield FoundFile(name, facts.st_size, facts.st_mtime_ns)
            else:
                self.others[_suffix(name)] += 1

    def remarks(self) -> list[str]:
        """Count the files that were passed over, in a sentence each."""
        found = []
        unread = {s: n for s, n in sorted(self.others.items()) if s in _UNREAD_SUFFIXES}
        if unread:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in unread.items())
            found.append(f"photographs that are not read, convert them to JPEG: {kinds}.")
        other = sum(self.others.values()) - sum(unread.values())
        if other or self.hidden:
            found.append(f"passed over: {other} other and {self.hidden} hidden files or folders.")
        return found


def _placed(images: Sequence[FoundFile], folders: Mapping[str, str]) -> list[FoundFile]:
    """Pick the images that lie in the folder of a class, and of a split where there are some."""
    if not folders:
        return [file for file in images if file.folders]
    return [f for f in images if len(f.folders) >= 2 and f.folders[0] in folders]


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _without_masks(
    found: Sequence[FoundFile], find_masks: bool
) -> tuple[list[FoundFile], list[FoundFile]]:
    """Tell images from those in folders of masks, most of which have the names of images."""
    images = [file for file in found if _suffix(file.name) not in NOTE_SUFFIXES]
    if not find_masks:
        return images, []
    masks = [file for file in images if MASK_FOLDERS & {name.lower() for name in file.folders}]
    others = sorted(set(images) - set(masks))
    known = {PurePosixPath(file.name).stem for file in others}
    named = sum(mask_stem(PurePosixPath(file.name).stem) in known for file in masks)
    return (others, masks) if 2 * named > len(masks) else (images, [])


def mask_stem(name: str) -> str:
    """Take the usual endings that tell a mask from its image off a name without extension."""
    for ending in ("_mask", "-mask", "_segmentation", "_seg", "_gt"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _split_folders(root: Path, images: Sequence[FoundFile]) -> dict[str, str]:
    """Find the folders of splits below the root, with the splits' names; empty for none.

    Raises:
        DataError: If there is no training split, or a split is there twice.
    """
    tops = {file.folders[0] for file in images if file.folders}
    direct = {file.folders[0] for file in images if len(file.folders) == 1}
    spelled = {top: SPELLINGS[top.lower()] for top in sorted(tops) if top.lower() in SPELLINGS}
    nested = {top: split for top, split in spelled.items() if top not in direct}
    if "train" not in nested.values():
        if spelled and spelled.keys() == tops:
            first = next(iter(spelled))
            flat = [top for top, split in spelled.items() if split == "train" and top in direct]
            raise DataError(
                f"{root / flat[0]}: holds images without class folders; put them into a folder "
                "for each class."
                if flat
                else f"{root}: has {first} but no folder of training images; name it train."
            )
        return {}
    by_split: dict[str, str] = {}
    for top, split in nested.items():
        if split in by_split:
            raise DataError(
                f"{root}: both {by_split[split]} and {top} are names of the split {split}; "
                "rename one."
            )
        by_split[split] = top
    return nested


def _check_classes(
    root: Path, images: Sequence[FoundFile], classes: Sequence[str], splits: Sequence[str]
) -> None:
    if not images:
        raise DataError(
            f"{root}: holds no images in folders of classes; put them into a folder for each class."
        )
    names = set(classes)
    if len(names) == 1:
        (name,) = names
        inner = {tuple(file.folders[:2]) for file in images if len(file.folders) > 1}
        hint = f", or set data.root={root / name}" if len(inner) > 1 and not any(splits) else ""
        raise DataError(
            f"{root}: {name} is the only class, and a classifier needs two at least; add a folder "
            f"of other images{hint}."
        )
    trained = {name for name, split in zip(classes, splits, strict=True) if split == "train"}
    for file, name, split in zip(images, classes, splits, strict=True):
        if split not in ("", "train") and name not in trained:
            close = get_close_matches(name, sorted(trained), 1)
            same = close or [known for known in sorted(trained) if known.lower() == name.lower()]
            meant = f" (is {same[0]} meant?)" if same else ""
            raise DataError(
                f"{root / '/'.join(file.folders[:2])}: {name} is no class of the training images"
                f"{meant}; rename the folder, or add images to train."
            )


def check_name(root: Path, name: str) -> None:
    """Check that a path can be written to a text file of lines.

    Raises:
        DataError: If it cannot.
    """
    broken = "\n" in name or "\r" in name or name != name.strip()
    if not broken and name.isascii():
        return
    try:
        name.encode()
    except UnicodeEncodeError:
        broken = True
    if broken:
        raise DataError(
            f"{str(root)!r}: the name {name!r} begins or ends with a blank, or holds a line break "
            "or bytes that are no text; rename it."
        )


def _spelled_alike(names: Sequence[str]) -> list[str]:
    """Name the classes whose names differ in nothing but case, which may be one class."""
    first: dict[str, str] = {}
    pairs = [(first.setdefault(name.casefold(), name), name) for name in names]
    return [
        f"{one} and {two} are two classes, whose names differ in case alone; if they are one, put "
        "their images into one folder."
        for one, two in pairs
        if one != two
    ]


def _left_out(images: Sequence[FoundFile], placed: Sequence[FoundFile]) -> list[str]:
    """Count the images that lie in no class folder."""
    kept = {file.name for file in placed}
    left = [file.name for file in images if file.name not in kept]
    return [f"images in no class folder: {len(left)}, such as {left[0]}."] if left else []


def _no_classes(
    walk: Walk, used: Sequence[FoundFile], split_folders: Mapping[str, str]
) -> list[str]:
    """Name the folders in the place of class folders that hold nothing."""
    depth = 2 if split_folders else 1
    filled = {"/".join(file.folders[:depth]) for file in used}
    beside = [name for name in walk.folders if name.count("/") == depth - 1]
    empty = [name for name in beside if name not in filled]
    if split_folders:
        empty = [name for name in empty if name.split("/")[0] in split_folders]
    more = ", ..." if len(empty) > 5 else ""
    return [f"folders without images, no classes: {', '.join(empty[:5])}{more}."] if empty else []
