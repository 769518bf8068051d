"""Journal of the facts about files, by which a check goes on and repeats only what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from learned_saliency.datamodules import ImageFacts

_PLAIN = ImageFacts()


class Stamp(NamedTuple):
    """State of a file, which changes with its content.

    Attributes:
        size: In bytes.
        modified: Time of the last change in nanoseconds, as the file system counts.
    """

    size: int
    modified: int


class Entry(NamedTuple):
    """Facts about a file in some state.

    Attributes:
        use: What the file was read as, ``"image"`` for example.
        name: Its path.
        stamp: Its state.
        facts: The facts.
    """

    use: str
    name: str
    stamp: Stamp
    facts: ImageFacts


class Journal:
    """File of entries, one per line; later ones replace earlier ones of the same file.

    Lines that are damaged, such as the last one after an interruption, are passed over.

    Args:
        path: The file; it is made with the first entries.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[tuple[str, str], tuple[Stamp, ImageFacts]] = {}
        self._ends_whole = True
        if path.is_file():
            with path.open("rb") as file:
                for line in file:
                    self._ends_whole = line.endswith(b"\n")
                    if self._ends_whole and (entry := _parse(line)) is not None:
                        self._entries[entry.use, entry.name] = (entry.stamp, entry.facts)

    def find(self, use: str, name: str, stamp: Stamp) -> ImageFacts | None:
        """Return the facts about a file, if it is still in the state in which it was read."""
        known, facts = self._entries.get((use, name), (None, None))
        return facts if known == stamp else None

    def add(self, entries: Iterable[Entry]) -> None:
        """Append entries; they are handed to the system at once.

        Raises:
            OSError: If they cannot be written.
        """
        text = "".join(json.dumps([e.use, e.name, *e.stamp, *e.facts]) + "\n" for e in entries)
        if not text:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(text.encode() if self._ends_whole else b"\n" + text.encode())
        self._ends_whole = True


def _parse(line: bytes) -> Entry | None:
    try:
        use, name, size, modified, *facts = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    if not _alike([use, name, size, modified, *facts], ["", "", 0, 0, *_PLAIN]):
        return None
    return Entry(use, name, Stamp(size, modified), ImageFacts(*facts))


def _alike(found: list[Any], wanted: list[Any]) -> bool:
    """Tell whether values have the types of others."""
    return len(found) == len(wanted) and all(
        type(a) is type(b) for a, b in zip(found, wanted, strict=True)
    )
