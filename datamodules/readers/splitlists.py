"""Lists of files that say which split each photograph is in."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.readers.walking import named_place
from learned_saliency.datamodules.textfile import DataError, line_error, read_columns


class _Line(NamedTuple):
    """Line of a list: its split, and where it stands."""

    split: str
    path: Path
    row: int


class SplitLists(NamedTuple):
    """Splits that were fixed beforehand.

    Attributes:
        lines: Line of each listed file, by its name relative to the root.
    """

    lines: Mapping[str, _Line]

    def digest(self) -> str:
        """Return a hexadecimal digest of the names and their splits."""
        text = "\n".join(f"{line.split} {name}" for name, line in sorted(self.lines.items()))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def match(self, names: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
        """Find the splits of photographs.

        Args:
            names: Names of all photographs, relative to the root.

        Returns:
            The names that are listed, their splits, and sentences about the others.

        Raises:
            DataError: If a listed file is none of the photographs.
        """
        known = set(names)
        for name, line in self.lines.items():
            if name not in known:
                raise line_error(
                    line.path, line.row, f"{name!r} is no image below the root; correct the line."
                )
        listed = [name for name in names if name in self.lines]
        others = [name for name in names if name not in self.lines]
        told = f"images in no list, left out: {len(others)}, such as {(others or [''])[0]}."
        return listed, [self.lines[name].split for name in listed], [told] if others else []


def read_split_lists(root: Path, place: str) -> SplitLists:
    """Read the lists of splits that a person made.

    Args:
        root: Folder of the photographs; names in the lists are relative to it, or absolute.
        place: A folder with ``train.txt``, ``val.txt`` and ``test.txt``, or some of these, each
            with a file per line, or a text file of lines ``file,split``; below the root or the
            working directory.

    Raises:
        DataError: If nothing is there, a line is malformed, or a file is listed twice.
    """
    found = named_place(root, place)
    lines: dict[str, _Line] = {}
    if found.is_dir():
        for split in SPLITS:
            path = found / f"{split}.txt"
            if path.is_file():
                (names,) = read_columns(path, "file")
                for row, name in enumerate(names):
                    _add(lines, root, name, _Line(split, path, row))
    else:
        for row, (name, split) in enumerate(zip(*read_columns(found, "file,split"), strict=True)):
            if split not in SPLITS:
                message = f"{split!r} is no split; write {', '.join(SPLITS)}."
                raise line_error(found, row, message)
            _add(lines, root, name, _Line(split, found, row))
    if not lines:
        names = ", ".join(f"{split}.txt" for split in SPLITS)
        raise DataError(f"{found}: lists no file; write them into {names} in it, one per line.")
    return SplitLists(lines)


def _add(lines: dict[str, _Line], root: Path, name: str, line: _Line) -> None:
    """Add a line; its name becomes relative to the root."""
    relative = os.path.relpath(name, root) if os.path.isabs(name) else os.path.normpath(name)
    key = relative.replace(os.sep, "/")
    if key in lines:
        other = lines[key]
        at = "above" if other.path == line.path else f"in {other.path.name}, too"
        raise line_error(line.path, line.row, f"{name!r} is listed {at}; remove one of the lines.")
    lines[key] = line
