"""Classes of the samples of shards, and what lies beside the shards about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.class_files import read_class_names
from learned_saliency.datamodules.classes import MAX_COUNTED
from learned_saliency.datamodules.opening import PackedImage
from learned_saliency.datamodules.readers.shardrows import ShardRow
from learned_saliency.datamodules.textfile import DataError

RECORD = "shards.json"  # what `data shard` notes beside the shards
CLASS_NAMES = "class_names.txt"
_LONGEST = 1 << 24  # bytes of the record


def read_record(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `data shard` has noted beside the shards; empty where there is no such file.

    Args:
        path: The file.
        options: Options of the data set by name, of which those that are noted have to agree.

    Raises:
        DataError: If it is damaged, or an option is another.
    """
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LONGEST))
        facts = dict(found["facts"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path}: is damaged; write the shards anew, or remove it.") from None
    for key, value in options.items():
        if facts.get(key, value) != value:
            wanted = json.dumps(facts[key])
            raise DataError(
                f"{path}: the shards were written with {key}={wanted}, to which boxes, masks and "
                f"pixels refer; set data.{key}={wanted}."
            )
    return facts


def class_labels(
    root: Path, rows: Sequence[ShardRow], stated: Sequence[str] | None
) -> tuple[list[int], list[str]]:
    """Bring the classes of samples to indices, and name them.

    The names are those that are stated, those in ``class_names.txt`` beside the shards, those that
    the samples tell along with numbers, or else the labels themselves.

    Args:
        root: Folder of the shards.
        rows: The samples.
        stated: Names that `data shard` has noted; None where it has not.

    Returns:
        An index for each sample, and the names.

    Raises:
        DataError: If there are numbers and names, or one that no class has.
    """
    names = list(stated) if stated else read_class_names(root / CLASS_NAMES)
    texts = [row for row in rows if isinstance(row.label, str)]
    if not texts:
        labels = [int(row.label) for row in rows]
        if names is None:
            names = _names_of(rows, min(max(labels, default=-1) + 1, MAX_COUNTED))
        _check_range(root, rows, labels, len(names))
        return labels, names
    if len(texts) < len(rows):
        other = next(row for row in rows if not isinstance(row.label, str))
        raise DataError(
            f"{_place(root, texts[0])}: its class is a name, {texts[0].label!r:.40}, and that of "
            f"{other.image_id} a number; write either."
        )
    if names is None:
        names = sorted({row.label for row in texts})
    index = {name: label for label, name in enumerate(names)}
    for row in texts:
        if row.label not in index:
            raise DataError(
                f"{_place(root, row)}: its class {row.label!r:.40} is none of the {len(names)} "
                f"classes; correct it, or {root / CLASS_NAMES}."
            )
    return [index[row.label] for row in texts], names


def _names_of(rows: Sequence[ShardRow], count: int) -> list[str]:
    """Name classes as their samples do, where all samples of a class agree."""
    names: dict[int, set[str]] = {}
    for row in rows:
        names.setdefault(int(row.label), set()).add(row.class_name)
    told = [names.get(label, {str(label)}) for label in range(count)]
    if all(len(found) == 1 and "" not in found for found in told):
        return [next(iter(found)) for found in told]
    return [str(label) for label in range(count)]


def _check_range(root: Path, rows: Sequence[ShardRow], labels: Sequence[int], count: int) -> None:
    for row, label in zip(rows, labels, strict=True):
        if label != UNKNOWN and not 0 <= label < count:
            raise DataError(
                f"{_place(root, row)}: its class {label} is none of the {count} classes, 0 to "
                f"{count - 1}; correct it."
            )


def _place(root: Path, row: ShardRow) -> PackedImage:
    return PackedImage(root / row.image_id, row.image_id, lambda _: b"")
