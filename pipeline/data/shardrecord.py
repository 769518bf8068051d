"""Record beside shards: what they depend on, and what a reader has to know."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from learned_saliency.datamodules import SplitMetadata, WSOLDataModule, find_classes
from learned_saliency.pipeline.cli import UserError
from learned_saliency.storage import read_json

RECORD = "shards.json"
_VERSION = 1
_LISTS = ("image_ids", "class_labels", "localization", "image_sizes", "masks")


def settings_of(
    data: WSOLDataModule, config: DictConfig, splits: dict[str, SplitMetadata]
) -> dict[str, Any]:
    """Return what the shards depend on: the text files of the splits, and the options."""
    digests = {}
    for split, metadata in splits.items():
        digest = hashlib.sha256()
        for name in _LISTS if split != "train" else _LISTS[:2]:
            path = metadata.folder / f"{name}.txt"
            digest.update(path.read_bytes() if path.is_file() else b"\0")
        digests[split] = digest.hexdigest()
    options = ("seed", "shuffle", "shard_mb", "shard_images")
    return {
        "version": _VERSION,
        "name": data.name,
        "options": {key: config[key] for key in options},
        "lists": digests,
    }


def open_record(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Read the record of an earlier call, if it wrote shards of the same settings."""
    path = folder / RECORD
    if not path.is_file():
        return {"settings": settings}
    try:
        record = read_json(path)
        before = dict(record["settings"])
        lists = dict(before["lists"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is damaged; write the shards into another folder.") from None
    for split, digest in settings["lists"].items():
        if lists.setdefault(split, digest) != digest:
            raise UserError(
                f"{folder}: holds shards of {split} of other images, labels or boxes; choose "
                "another folder."
            )
    for key in ("version", "name", "options"):
        if before.get(key) != settings[key]:
            raise UserError(
                f"{folder}: holds shards that were written with {key} {before.get(key)}, not "
                f"{settings[key]}; repeat these, or choose another folder."
            )
    record["settings"]["lists"] = lists
    return record


def facts_of(data: WSOLDataModule, splits: dict[str, SplitMetadata]) -> dict[str, Any]:
    """Return what a reader has to know: names of the classes, and how pixels are read."""
    _, names = find_classes(
        data.metadata, splits, num_classes=data.num_classes, class_names=data.class_names
    )
    return {"class_names": names, **data.decoding._asdict()}


def record_text(record: dict[str, Any]) -> str:
    """Write the record as JSON."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"
