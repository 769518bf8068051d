"""Files of one split of the embedded data set, with checksums by which damage is noticed."""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

_KINDS = ("images", "masks", "parts")
_CORNERS = 4  # numbers of a box
_DIGITS = 16  # length of a line's own checksum


class Record(NamedTuple):
    """Facts about an image on disk.

    Attributes:
        labels: Classes of its creatures.
        boxes: x0 y0 x1 y1 of each of them, pixel indices, both ends inside.
        checksums: SHA-256 of each of its files.
        cue: x0 y0 x1 y1 of the planted tag, both ends inside; empty for none.
    """

    labels: tuple[int, ...]
    boxes: tuple[tuple[int, ...], ...]
    checksums: tuple[str, ...]
    cue: tuple[int, ...] = ()


class SplitStore:
    """Images of a split below ``root``, and their table ``root/checksums/SPLIT.txt``.

    Every line of the table has a checksum of its own, so that a damaged one is a missing one.
    Files are replaced as a whole: processes that write the same images do not disturb each other,
    nor those that read.

    Args:
        root: Folder of the data set.
        split: Name of the split; "train" has neither masks nor part masks.
        animals: Creatures in each image. Where there are several, each has masks in a folder of its
            own, and there are no part masks.
    """

    def __init__(self, root: Path, split: str, animals: int = 1) -> None:
        self.root = root
        self.split = split
        self.animals = animals
        kinds = _KINDS if animals == 1 else (_KINDS[0], *(f"masks/{k + 1}" for k in range(animals)))
        self.kinds = kinds[:1] if split == "train" else kinds
        self.table = root / "checksums" / f"{split}.txt"

    def names(self, number: int) -> list[str]:
        """Return the names of an image's files, relative to the root."""
        return [f"{kind}/{self.split}/{number + 1:05d}.png" for kind in self.kinds]

    def write(self, number: int, files: Sequence[bytes]) -> tuple[str, ...]:
        """Write the files of an image; return their checksums."""
        for name, content in zip(self.names(number), files, strict=True):
            replace_file(self.root / name, content)
        return tuple(hashlib.sha256(content).hexdigest() for content in files)

    def make_folders(self) -> None:
        """Make the folders of the split's images."""
        for kind in self.kinds:
            (self.root / kind / self.split).mkdir(parents=True, exist_ok=True)

    def records(self) -> dict[int, Record]:
        """Read the undamaged lines of the table, by the numbers of the images."""
        text = read_regular(self.table) or b""
        width = len(self.kinds)
        lines = text.decode(errors="replace").split("\n")
        found = dict(filter(None, (_parsed(line, self.animals, width) for line in lines)))
        return {n: record for n, record in found.items() if len(record.checksums) == width}

    def keep(self, records: Mapping[int, Record]) -> None:
        """Write the table with further records."""
        known = self.records() | dict(records)
        lines = (_line(number, known[number]) for number in sorted(known))
        replace_file(self.table, "".join(lines).encode())

    def damaged(self, records: Mapping[int, Record]) -> list[int]:
        """Find the images of which a file is missing or has another checksum."""
        return [number for number, record in records.items() if not self._is_whole(number, record)]

    def _is_whole(self, number: int, record: Record) -> bool:
        for name, checksum in zip(self.names(number), record.checksums, strict=True):
            content = read_regular(self.root / name)
            if content is None or hashlib.sha256(content).hexdigest() != checksum:
                return False
        return True


def read_regular(path: Path) -> bytes | None:
    """Read a file; return None where there is none, or none that is regular."""
    try:
        return path.read_bytes() if stat.S_ISREG(os.stat(path).st_mode) else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole; its folder is made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _line(number: int, record: Record) -> str:
    places = chain.from_iterable(record.boxes)
    fields = (number, *record.labels, *places, *record.checksums, *record.cue)
    text = ",".join(map(str, fields))
    return f"{text},{_checksum(text)}\n"


def _parsed(line: str, animals: int, files: int) -> tuple[int, Record] | None:
    """Read a line of the table with the checksums of some files; return None if it is damaged."""
    text, _, checksum = line.rpartition(",")
    if checksum != _checksum(text):
        return None
    number, *rest = text.split(",")
    if len(rest) - 5 * animals - files not in (0, _CORNERS):
        return None  # a line about another number of creatures
    told, rest = rest[: 5 * animals], rest[5 * animals :]
    labels, places = _ints(told[:animals]), _ints(told[animals:])
    boxes = tuple(places[k : k + _CORNERS] for k in range(0, len(places), _CORNERS))
    return int(number), Record(labels, boxes, tuple(rest[:files]), _ints(rest[files:]))


def _ints(fields: Sequence[str]) -> tuple[int, ...]:
    return tuple(map(int, fields))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
