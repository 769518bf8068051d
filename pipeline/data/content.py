"""Content of a data set: its text files, and the facts about its images and masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from learned_saliency.datamodules import ImageFacts, ImageSource
from learned_saliency.pipeline.data.tables import SplitTable


@dataclass(frozen=True)
class SplitContent:
    """Text files and images of a split.

    Attributes:
        table: Its text files.
        facts: Facts about its images, in the order of the ids.
    """

    table: SplitTable
    facts: Sequence[ImageFacts]

    def size(self, image: int, turned: bool) -> tuple[int, int] | None:
        """Return width and height of an image in pixels; None where they are not known.

        Args:
            image: Its place in the list of ids.
            turned: Whether boxes and masks refer to the image as its EXIF data turn it.
        """
        if not self.facts[image].problem:
            return self.facts[image].size(turned)
        row = (self.table.sizes or {}).get(image)
        return None if row is None else row.values


@dataclass(frozen=True)
class Content:
    """Content of a data set, as it was read.

    Attributes:
        metadata: Folder of the metadata.
        splits: Its splits.
        masks: Facts about the masks by their paths in the text files.
        ignores: Facts about the ignore masks, likewise.
        locate: Finds an image by its id.
        locate_mask: Finds a mask by its path in the text files.
        turned: Whether boxes and masks refer to images as their EXIF data turn them.
    """

    metadata: Path
    splits: Sequence[SplitContent]
    masks: Mapping[str, ImageFacts]
    ignores: Mapping[str, ImageFacts]
    locate: Callable[[str], ImageSource]
    locate_mask: Callable[[str], ImageSource]
    turned: bool
