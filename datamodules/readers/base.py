"""Interface of a reader of a data set."""

from pathlib import Path
from typing import Protocol


class Reader(Protocol):
    """Maker of a data set's metadata, and where needed its images, on first use."""

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write missing files below ``root`` and ``metadata``; do nothing if all are there."""
