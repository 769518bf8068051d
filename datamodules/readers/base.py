"""What a reader of a data set does."""

from pathlib import Path
from typing import Protocol


class Reader(Protocol):
    """Makes a data set's metadata, and where needed its images, on first use."""

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write what is missing below ``root`` and ``metadata``; do nothing if all is there."""
