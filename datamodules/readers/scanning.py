"""Listing of a folder of photographs: splits, classes and images, and what is left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from learned_saliency.datamodules.decoding import COLORS
from learned_saliency.datamodules.readers.walking import (
    NOTE_SUFFIXES,
    FoundFile,
    Walk,
    check_name,
    suffix_of,
)
from learned_saliency.datamodules.textfile import DataError

SPELLINGS = {  # names of splits in other data sets
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MASK_FOLDERS = frozenset(("masks", "mask", "segmentations"))


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
    notes = [file for file in found if suffix_of(file.name) in NOTE_SUFFIXES]
    remarks = [*_spelled_alike(names), *_left_out(images, placed)]
    remarks += [*_no_classes(walk, [*placed, *masks, *notes], folders), *walk.remarks()]
    numbers = {name: label for label, name in enumerate(names)}
    labels = [numbers[name] for name in classes]
    return Listing(root, names, placed, labels, splits, notes, masks, remarks)


def _placed(images: Sequence[FoundFile], folders: Mapping[str, str]) -> list[FoundFile]:
    """Pick the images that lie in the folder of a class, and of a split where there are some."""
    if not folders:
        return [file for file in images if file.folders]
    return [f for f in images if len(f.folders) >= 2 and f.folders[0] in folders]


def _without_masks(
    found: Sequence[FoundFile], find_masks: bool
) -> tuple[list[FoundFile], list[FoundFile]]:
    """Tell images from those in folders of masks, most of which have the names of images."""
    images = [file for file in found if suffix_of(file.name) not in NOTE_SUFFIXES]
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
