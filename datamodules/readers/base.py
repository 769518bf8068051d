"""Interface of a reader of a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Reader(Protocol):
    """Maker of a data set's metadata, and where needed its images, on first use.

    A reader whose options name folders of images beside the root lists them in an attribute
    ``image_roots``; see `image_roots`.
    """

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write missing files below ``root`` and ``metadata``; do nothing if all are there."""


def image_roots(reader: Reader | None) -> Sequence[Path]:
    """List the folders beside the root in which a reader's images may lie."""
    return getattr(reader, "image_roots", ())
