"""Photographs of a folder, and the rows of their metadata with boxes and masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.decoding import AS_STORED, FIRST_LYING, Decoding
from learned_saliency.datamodules.inspection import ImageFacts
from learned_saliency.datamodules.readers.annotations import Marks
from learned_saliency.datamodules.readers.boxtables import NotedBox
from learned_saliency.datamodules.readers.resemblance import inspect_all
from learned_saliency.datamodules.readers.writing import SplitRows
from learned_saliency.datamodules.textfile import DataError


class Photos(NamedTuple):
    """Readable photographs of a folder.

    Attributes:
        root: The folder.
        names: N names relative to it.
        labels: Their classes.
        splits: Their splits; empty texts where these are to be made.
        facts: What their files hold; none before `open_photos`.
    """

    root: Path
    names: list[str]
    labels: list[int]
    splits: list[str]
    facts: list[ImageFacts]

    def at(self, rows: Sequence[int]) -> "Photos":
        """Return some of the photographs."""
        columns = ([column[row] for row in rows] for column in self[1:])
        return Photos(self.root, *columns)


class Opened(NamedTuple):
    """Photographs that were opened.

    Attributes:
        photos: The readable ones.
        broken: What is wrong with the first of the others; empty where there are none.
        remarks: Sentences about the others, which are left out.
    """

    photos: Photos
    broken: str
    remarks: list[str]


def open_photos(
    photos: Photos, *, look: bool, skip_broken: bool, decoding: Decoding = AS_STORED
) -> Opened:
    """Open all photographs.

    Args:
        photos: The photographs, without facts.
        look: Whether perceptual hashes are made.
        skip_broken: Whether those that cannot be read are left out.
        decoding: See `inspect_image`.

    Raises:
        DataError: If one cannot be read and such ones are not skipped.
    """
    root, names = photos.root, photos.names
    facts = inspect_all((root / name for name in names), look, decoding)
    photos = photos._replace(facts=facts)
    broken = [row for row, fact in enumerate(facts) if fact.problem]
    if not broken:
        return Opened(photos, "", [])
    first = f"{root / names[broken[0]]}: cannot be read ({facts[broken[0]].problem})"
    if not skip_broken:
        more = f", nor can {len(broken) - 1} others" if len(broken) > 1 else ""
        raise DataError(
            f"{first}{more}; replace or remove the file, or leave such files out by "
            "data.reader.skip_broken=true."
        )
    kept = photos.at([row for row, fact in enumerate(facts) if not fact.problem])
    left_out = f"images that cannot be read, left out: {len(broken)}, such as {first}."
    return Opened(kept, first, [left_out])


def train_rows(photos: Photos) -> SplitRows:
    """Make the rows of photographs for training, with labels alone."""
    return SplitRows(photos.names, photos.labels)


def evaluation_rows(
    photos: Photos, marks: Marks, exif: bool, split: str
) -> tuple[SplitRows, list[str]]:
    """Make the rows of photographs of a split for evaluation.

    In a split in which any has boxes, those without are left out, and masks count only if all have
    one. In a split with masks alone, those without are left out.

    Args:
        photos: The photographs.
        marks: Their boxes and masks.
        exif: Whether photographs are turned as their EXIF data say; boxes and masks fit that.
        split: Name of the split, for remarks.

    Returns:
        The rows, and remarks about what is left out.

    Raises:
        DataError: If a box reaches out of its image, or a mask is not readable or of another size.
    """
    boxed, masked = marks.kinds(photos.names)
    remarks = []
    if boxed or masked:
        there, kind = (marks.boxes, "box") if boxed else (marks.masks, "mask")
        kept = [row for row, name in enumerate(photos.names) if name in there]
        if len(kept) < len(photos.names):
            lacking = next(name for name in photos.names if name not in there)
            remarks.append(
                f"{len(photos.names) - len(kept)} of {len(photos.names)} images of {split} have no "
                f"{kind}, such as {lacking}: left out of it."
            )
        photos = photos.at(kept)
    with_mask = sum(name in marks.masks for name in photos.names)
    if masked and with_mask < len(photos.names):
        remarks.append(f"masks of {split} are not used: {with_mask} of its images have one.")
        masked = False
    sizes = np.array([fact.size(exif) for fact in photos.facts], np.int64).reshape(-1, 2)
    rows = SplitRows(photos.names, photos.labels)
    if boxed:
        rows = _with_boxes(photos, marks.boxes, sizes, exif)
    if masked:
        _check_masks(photos, marks.masks, sizes, exif)
        masks = [(name, mask, "") for name in photos.names for mask in marks.masks[name]]
        rows = SplitRows(rows.ids, rows.labels, rows.sizes, rows.boxes, rows.box_ids, masks)
    return rows, remarks


def _with_boxes(
    photos: Photos, boxes: Mapping[str, list[NotedBox]], sizes: np.ndarray, exif: bool
) -> SplitRows:
    """Truncate boxes to integers as the benchmark does; the last pixel is their furthest end."""
    ids = [name for name in photos.names for _ in boxes[name]]
    noted = [box for name in photos.names for box in boxes[name]]
    counts = [len(boxes[name]) for name in photos.names]
    corners = np.array([box.corners for box in noted], np.float64)
    limits = np.repeat(sizes, counts, axis=0)
    outside = (corners[:, :2] < -1).any(1) | (corners[:, :2] >= limits).any(1)
    outside |= (corners[:, 2:] > limits + 1).any(1) | (corners[:, 2:] < 0).any(1)
    if outside.any():
        first = int(outside.argmax())
        fact = photos.facts[int(np.searchsorted(np.cumsum(counts), first, side="right"))]
        hint = ""
        if exif and fact.orientation >= FIRST_LYING:
            hint = ", or data.exif_orientation=false if it refers to the pixels as stored"
        box = ",".join(f"{value:g}" for value in corners[first])
        size = "{}x{}".format(*limits[first])
        raise DataError(
            f"{noted[first].where}: the box {box} reaches out of {ids[first]} of {size} pixels; "
            f"correct it{hint}."
        )
    whole = np.clip(corners.astype(np.int64), 0, np.tile(limits, 2) - 1)
    return SplitRows(photos.names, photos.labels, sizes, whole, ids)


def _check_masks(
    photos: Photos, masks: Mapping[str, list[str]], sizes: np.ndarray, exif: bool
) -> None:
    """Check that masks can be read, that they have the size of their image, and their names."""
    pairs = [(row, mask) for row, name in enumerate(photos.names) for mask in masks[name]]
    paths = [photos.root / mask for _, mask in pairs]
    for (row, mask), path in zip(pairs, paths, strict=True):
        if "," in mask or "," in photos.names[row]:
            raise DataError(f"{path}: names of masks and of their images hold no comma; rename it.")
    found, broken = read_sizes(paths, Decoding(exif))
    for index, reason in broken.items():
        raise DataError(f"{paths[index]}: the mask is not readable ({reason}); replace it.")
    for (row, _), path, size in zip(pairs, paths, found, strict=True):
        if (size != sizes[row]).any():
            raise DataError(
                f"{path}: the mask has {size[0]}x{size[1]} pixels, and {photos.names[row]} "
                f"{sizes[row][0]}x{sizes[row][1]}; replace it."
            )
