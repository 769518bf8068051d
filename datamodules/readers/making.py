"""Metadata of photographs whose splits are made where they are missing, and the report of that."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_saliency.datamodules.decoding import COLORS, Decoding
from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.readers.annotations import Marks
from learned_saliency.datamodules.readers.folderrows import Photos, evaluation_rows, train_rows
from learned_saliency.datamodules.readers.foldersplits import Rule, make_splits
from learned_saliency.datamodules.readers.writing import (
    Metadata,
    SplitRows,
    read_settings,
    write_metadata,
)
from learned_saliency.datamodules.textfile import DataError, read_columns, read_text

_LOGGER = logging.getLogger(__name__)
REPORT = "splits.json"


def make_metadata(
    photos: Photos,
    class_names: Sequence[str],
    marks: Marks,
    rule: Rule,
    *,
    exif: bool,
    known: Mapping[str, str],
    remarks: Sequence[str],
) -> Metadata:
    """Draw the splits that are missing, make the rows of all, and tell what was done.

    Args:
        photos: Readable photographs.
        class_names: Names of their classes.
        marks: Their boxes and masks.
        rule: How splits are drawn.
        exif: Whether boxes and masks refer to photographs turned as their EXIF data say.
        known: Splits that were drawn before, by names.
        remarks: Sentences to tell, too.

    Returns:
        The metadata, with a report in ``splits.json``.

    Raises:
        DataError: See `make_splits` and `evaluation_rows`.
    """
    splits = make_splits(photos, class_names, marks, rule, known)
    told, rows = [*remarks, *marks.remarks, *splits.remarks], {}
    for split in SPLITS:
        own = splits.photos.splits
        chosen = splits.photos.at([row for row, name in enumerate(own) if name == split])
        if not chosen.names:
            continue
        if split == "train":
            rows[split] = train_rows(chosen)
        else:
            rows[split], left_out = evaluation_rows(chosen, marks, exif, split)
            told += left_out
    return Metadata(class_names, rows, report_of(photos.root, rows, splits.report, told))


def report_of(
    root: Path, rows: Mapping[str, SplitRows], report: Mapping[str, Any], remarks: Sequence[str]
) -> dict[str, str]:
    """Tell the remarks about splits, and write the report of them.

    Args:
        root: Folder of the images.
        rows: The splits.
        report: What was made, see `Splits`.
        remarks: Sentences for a person.

    Returns:
        The text of the report by its name.
    """
    for remark in remarks:
        _LOGGER.warning("%s: %s", root, remark)
    images = {split: len(found.ids) for split, found in rows.items()}
    whole = {"images": images, **report, "remarks": remarks}
    return {REPORT: json.dumps(whole, indent=1, ensure_ascii=False) + "\n"}


def tell(root: Path, metadata: Path) -> None:
    """Say how many images each split has, and which splits were drawn.

    Raises:
        DataError: If the report of `make_metadata` is damaged.
    """
    try:
        report = json.loads(read_text(metadata / REPORT))
        counts = [f"{count} images of {split}" for split, count in report["images"].items()]
        together = report.get("kept_together") or []
        made = [split for split in report["made"] if split in report["images"]]
        told = f"{' and '.join(made)} drawn with seed {report['seed']}" if made else "as given"
        if together:
            images = sum(map(len, together))
            told += f", {images} similar images kept together, groups: {len(together)}"
    except (DataError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{metadata / REPORT}: is damaged; remove {metadata}.") from None
    _LOGGER.info("%s: %s; %s; see %s.", root, ", ".join(counts), told, metadata / REPORT)


def remake_metadata(
    root: Path,
    metadata: Path,
    reader: str,
    settings: Mapping[str, Any],
    changing: Mapping[str, Any],
    make: Callable[[Mapping[str, str]], Metadata],
) -> None:
    """Write metadata unless it is there and nothing has changed since; tell what the splits are.

    Args:
        root: Folder of the images.
        metadata: The folder to write.
        reader: See `write_metadata`.
        settings: Choices that the metadata depends on.
        changing: States of the files that it depends on.
        make: Reads the images; it gets the splits of images, by their names, of metadata of the
            same choices.

    Raises:
        DataError: See `write_metadata`.
    """
    before, known = read_settings(metadata, reader), {}
    now = {**settings, **changing}
    if before is not None and before != now:
        if before | changing == now:
            known = known_splits(metadata)
        _LOGGER.info("%s: has changed since it was last read, and is read again.", root)
    write_metadata(metadata, reader, now, lambda: make(known))
    tell(root, metadata)


def decoded_otherwise(decoding: Decoding) -> dict[str, Any]:
    """Return what metadata depends on where images keep their channels; nothing for colors."""
    if decoding.channels == COLORS:
        return {}
    return {"channels": decoding.channels, "array_axes": decoding.array_axes}


def known_splits(metadata: Path) -> dict[str, str]:
    """Read the splits of images in a folder of metadata; nothing of one that is damaged."""
    found: dict[str, str] = {}
    for split in SPLITS:
        try:
            (names,) = read_columns(metadata / split / "image_ids.txt", "id")
        except DataError:
            continue
        found |= dict.fromkeys(names, split)
    return found
