"""Interface of a reader of a data set."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from learned_saliency.datamodules.metadata import SPLITS


class Reader(Protocol):
    """Maker of a data set's metadata, and where needed its images, on first use.

    A reader whose options name folders of images beside the root lists them in an attribute
    ``image_roots``; see `image_roots`.
    """

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write missing files below ``root`` and ``metadata``; do nothing if all are there."""


class SplitReader(ABC):
    """Base of a reader that makes single splits, so that none is made in vain."""

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write missing files of all splits; see `Reader`."""
        self.prepare_splits(root, metadata, SPLITS)

    @abstractmethod
    def prepare_splits(self, root: Path, metadata: Path, splits: Sequence[str]) -> None:
        """Write missing files of some splits; do nothing if all are there."""


def image_roots(reader: Reader | None) -> Sequence[Path]:
    """List the folders beside the root in which a reader's images may lie."""
    return getattr(reader, "image_roots", ())
