"""Counts of a split beside those that its paper or page states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from learned_saliency.datamodules import Published
from learned_saliency.pipeline.data.tables import SplitTable

COUNTED = ("images", "classes", "boxes", "masks")


class Counts(NamedTuple):
    """Counts of a split.

    Attributes:
        images: Number of images.
        classes: Number of classes of which there are images.
        boxes: Number of boxes.
        masks: Number of instance masks.
        ignores: Number of ignore masks.
        published: Published counts.
    """

    images: int
    classes: int
    boxes: int
    masks: int
    ignores: int
    published: Published

    def differences(self) -> list[str]:
        """List the counts that differ from the published ones, ``"4 images instead of 5"``."""
        pairs = {what: (getattr(self, what), getattr(self.published, what)) for what in COUNTED}
        return [
            f"{ours} {what} instead of {stated}"
            for what, (ours, stated) in pairs.items()
            if stated is not None and ours != stated
        ]


class ClassCounts(NamedTuple):
    """Counts of a class in a split.

    Attributes:
        images: Number of images that have it.
        boxes: Number of its boxes.
        masks: Number of its masks.
    """

    images: int
    boxes: int
    masks: int


def count_classes(table: SplitTable) -> dict[int, ClassCounts]:
    """Count the images, boxes and masks of each class of images with several, by its label."""
    if not table.several:
        return {}
    images = Counter(label for own in table.classes.values() for label in own)
    boxes = Counter(row.label for row in table.boxes or ())
    masks = Counter(row.label for row in table.masks or () if row.mask)
    return {
        label: ClassCounts(count, boxes[label], masks[label])
        for label, count in sorted(images.items())
    }


def count_split(table: SplitTable, published: Mapping[str, Published]) -> Counts:
    """Count what the usable lines of a split's text files list."""
    masks = table.masks or []
    return Counts(
        images=len(table.ids),
        classes=len({label for own in table.classes.values() for label in own}),
        boxes=len(table.boxes or ()),
        masks=sum(bool(row.mask) for row in masks),
        ignores=len({row.ignore for row in masks if row.ignore}),
        published=published.get(table.name, Published()),
    )
