"""Files that the processes of a test write, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from learned_saliency.trainers.callbacks.journal import Kept
from learned_saliency.trainers.strategies.processes import place


class PartFiles(Kept):
    """Keeper of files to which the processes of a test append, each to one of its own.

    What an interrupted batch has left is cut off when the test goes on. A subclass opens ``_file``
    at ``_part`` for appending, and notes ``_length`` after each batch.

    Args:
        parts: Folder of the files.
        pattern: Name of a file, with ``*`` in the place of the process's number.
    """

    def __init__(self, parts: Path, pattern: str) -> None:
        self.parts = parts
        self._pattern = pattern
        self._file: IO[Any] | None = None
        self._length = 0  # bytes of this process up to the last whole batch

    def kept(self) -> dict[str, int]:
        """Return the length in bytes of this process's file after the last whole batch."""
        return {self._part.name: self._length} if self._length else {}

    def take(self, kept: Mapping[str, int]) -> None:
        """Cut files back to the batches that were finished."""
        for name, length in kept.items():
            os.truncate(self.parts / name, length)
        self._length = kept.get(self._part.name, self._length)

    def forget(self, kept: Iterable[Mapping[str, int]]) -> None:
        """Remove files of an earlier test but for those that count, of which ``kept`` tells."""
        names = {name for lengths in kept for name in lengths}
        for part in self._parts():
            if part.name not in names:
                part.unlink()

    def sync(self) -> None:
        """Bring what was written onto the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    @property
    def _part(self) -> Path:
        return self.parts / self._pattern.replace("*", str(place().rank))

    def _parts(self) -> list[Path]:
        return sorted(self.parts.glob(self._pattern))

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
