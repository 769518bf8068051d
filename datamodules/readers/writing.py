"""Writing of metadata by readers: stamped with the settings, and replaced as a whole."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from learned_saliency.datamodules.textfile import DataError


@dataclass(frozen=True)
class SplitRows:
    """Rows of the text files of one split; see `read_split` for the format.

    Attributes:
        ids: N ids of images.
        labels: Their classes, integers of shape (N,); with ``label_ids`` one per class of an image.
        sizes: Width and height in pixels, integers of shape (N, 2); needed with boxes.
        boxes: All boxes, integers of shape (M, 4), x0 y0 x1 y1 in pixels; for several classes per
            image of shape (M, 5), the class last; None for no such file.
        box_ids: The ids of their images, M.
        masks: Triples of image id, mask path and path of an ignore mask, which may be empty, for
            several classes per image followed by the class; None for no such file.
        label_ids: The ids of the images of ``labels`` where an image has any number of classes;
            None where each has one.
    """

    ids: Sequence[str]
    labels: Sequence[int] | np.ndarray
    sizes: np.ndarray | None = None
    boxes: np.ndarray | None = None
    box_ids: Sequence[str] = ()
    masks: Sequence[tuple[object, ...]] | None = None
    label_ids: Sequence[str] | None = None


@dataclass(frozen=True)
class Metadata:
    """Content of a folder of metadata.

    Attributes:
        class_names: Names of the classes in the order of the labels; none for no such file.
        splits: Rows of the splits by their names.
        texts: Contents of further text files by their names, relative to the folder.
        write_files: Writes further files, such as masks, into the folder while it is made.
    """

    class_names: Sequence[str]
    splits: Mapping[str, SplitRows]
    texts: Mapping[str, str] = field(default_factory=dict)
    write_files: Callable[[Path], None] | None = None


def write_metadata(
    folder: Path,
    reader: str,
    settings: Mapping[str, object],
    make: Callable[[], Metadata],
) -> bool:
    """Write a folder of metadata unless the same reader has written it with the same settings.

    The folder is made beside its place and put there as a whole: an interruption leaves nothing
    behind, and metadata of other settings is replaced. Where another process puts the same metadata
    there in the meantime, that stays.

    Args:
        folder: The folder to write.
        reader: Name of the reader, in messages and, in small letters, in the name of the stamp:
            ``cub_reader.json``.
        settings: What the metadata depends on: the root, the reader's options and its version, and
            what tells that the download has changed. Values become JSON; what JSON does not know
            becomes text.
        make: Reads the download. Called only where metadata is to be written.

    Returns:
        Whether the metadata was written.

    Raises:
        DataError: If ``folder`` holds files that this reader has not written, or ``make`` fails.
    """
    name = _stamp_name(reader)
    stamp = json.dumps(settings, indent=1, default=str)
    found = _read_stamp(folder / name)
    if found == stamp:
        return False
    if found is None and folder.exists() and any(folder.iterdir()):
        raise DataError(
            f"{folder}: holds files that the {reader} reader has not written; set `metadata` to"
            " another folder or empty it."
        )
    content = make()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{reader}-") as scratch:
        made, old = Path(scratch) / "new", Path(scratch) / "old"
        _write(content, made)
        (made / name).write_text(stamp, "utf-8")
        if _read_stamp(folder / name) == stamp:  # another process was faster
            return False
        if folder.exists():
            os.replace(folder, old)
        os.replace(made, folder)
    return True


def options_of(reader: object) -> dict[str, Any]:
    """Return the options of a reader: its attributes but for those that begin with ``_``."""
    return {key: value for key, value in vars(reader).items() if not key.startswith("_")}


def read_settings(folder: Path, reader: str) -> dict[str, object] | None:
    """Return the settings with which a reader has written a folder of metadata; None for none."""
    stamp = _read_stamp(folder / _stamp_name(reader))
    try:
        found = json.loads(stamp or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def absolute(path: str | Path | None) -> Path | None:
    """Make a path of an option absolute, with ``~`` expanded; None stays None."""
    return None if path is None else Path(path).expanduser().absolute()


def _stamp_name(reader: str) -> str:
    return f"{reader.lower()}_reader.json"


def _read_stamp(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


def _write(content: Metadata, folder: Path) -> None:
    """Write all files into a new folder."""
    for split, rows in content.splits.items():
        _write_split(folder / split, rows)
    if content.class_names:
        _write_lines(folder / "class_names.txt", enumerate(content.class_names))
    for name, text in content.texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    if content.write_files is not None:
        content.write_files(folder)


def _write_split(folder: Path, rows: SplitRows) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_lines(folder / "image_ids.txt", ((image_id,) for image_id in rows.ids))
    owners = rows.ids if rows.label_ids is None else rows.label_ids
    _write_lines(folder / "class_labels.txt", zip(owners, rows.labels, strict=True))
    if rows.sizes is not None:
        sizes = zip(rows.ids, rows.sizes, strict=True)
        _write_lines(folder / "image_sizes.txt", ((name, *size) for name, size in sizes))
    if rows.boxes is not None:
        boxes = zip(rows.box_ids, rows.boxes, strict=True)
        _write_lines(folder / "localization.txt", ((name, *box) for name, box in boxes))
    if rows.masks is not None:
        name = "localization.txt" if rows.boxes is None else "masks.txt"
        _write_lines(folder / name, rows.masks)


def _write_lines(path: Path, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(",".join(map(str, row)) + "\n" for row in rows)
