"""Words for the splits of a data set and what was seen of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def name_split(split: Mapping[str, Any]) -> str:
    """Name a split, or a share of it, from its `WSOLDataModule.supervision`."""
    share = split.get("share")
    return str(split["split"]) if share is None else f"{100 * share:g} % of {split['split']}"


def told_supervision(split: Mapping[str, Any]) -> str:
    """Put what was seen of a split, or of a share of it, into words."""
    return (
        f"{split['boxes']:,} boxes and {split['masks']:,} masks of {split['images']:,} images, "
        f"{name_split(split)}"
    )
