"""Files below a folder: images, notes and what is passed over."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from learned_saliency.datamodules.decoding import COLORS
from learned_saliency.datamodules.textfile import DataError

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp"),
        *(".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi", ".tga"),
    )
)
ARRAY_SUFFIXES = frozenset((".npy",))  # images where these keep their channels and their depth
NOTE_SUFFIXES = frozenset((".csv", ".json", ".xml"))  # files that may hold boxes
_UNREAD_SUFFIXES = frozenset(  # photographs that the one reader of images does not decode
    (".heic", ".heif", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".svg")
)
AUTO, NONE = "auto", "none"  # choices of files: those that are found, or none
_SYSTEM = frozenset(("__macosx", "@eadir", "thumbs.db", "desktop.ini"))


class FoundFile(NamedTuple):
    """File below a root.

    Attributes:
        name: Its path relative to the root, with ``/``.
        size: Its size in bytes.
        changed: Time of its last change in nanoseconds.
    """

    name: str
    size: int
    changed: int

    @property
    def folders(self) -> list[str]:
        """Names of the folders on the way to the file."""
        return self.name.split("/")[:-1]


def listing_digest(files: Iterable[FoundFile]) -> str:
    """Return a hexadecimal digest of the names, sizes and times of files."""
    facts = "\n".join(f"{size} {changed} {name}" for name, size, changed in files)
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()


def image_suffixes(channels: int) -> frozenset[str]:
    """Return the extensions of images of a number of channels; 3 are colors, of any kind of file.

    Arrays that lie beside photographs are masks or maps, and no images of a set in colors.
    """
    return IMAGE_SUFFIXES if channels == COLORS else IMAGE_SUFFIXES | ARRAY_SUFFIXES


class Walk:
    """Walk through all files below a folder; links are followed, but not in circles.

    Args:
        root: The folder.
        leave_out: A folder of which nothing is listed.
        channels: Number of channels of the images, see `image_suffixes`.
    """

    def __init__(self, root: Path, leave_out: Path | None, channels: int = COLORS) -> None:
        self.root, self.leave_out = root, leave_out
        self._taken = image_suffixes(channels) | NOTE_SUFFIXES
        self.hidden = 0
        self.others: Counter[str] = Counter()  # files that are neither images nor notes
        self.folders: list[str] = []

    def files(self) -> Iterator[FoundFile]:
        """Yield images and notes."""
        yield from self._below("", frozenset())

    def _below(self, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[FoundFile]:
        place = self.root / folder
        try:
            found = os.stat(place)
            here = (found.st_dev, found.st_ino)
            entries = [] if here in above else sorted(os.scandir(place), key=lambda e: e.name)
        except OSError as error:
            raise DataError(
                f"{place}: cannot be listed ({error.strerror}); allow it, or move it away."
            ) from None
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
                self.hidden += 1
            elif self.root / name == self.leave_out:
                continue
            elif entry.is_dir():
                self.folders.append(name)
                yield from self._below(name, above | {here})
            elif suffix_of(name) in self._taken and entry.is_file():
                facts = entry.stat()
                yield FoundFile(name, facts.st_size, facts.st_mtime_ns)
            else:
                self.others[suffix_of(name)] += 1

    def remarks(self) -> list[str]:
        """Count the files that were passed over, in a sentence each."""
        found = []
        unread = {s: n for s, n in sorted(self.others.items()) if s in _UNREAD_SUFFIXES}
        if unread:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in unread.items())
            found.append(f"photographs that are not read, convert them to JPEG: {kinds}.")
        other = sum(self.others.values()) - sum(unread.values())
        if other or self.hidden:
            found.append(f"passed over: {other} other and {self.hidden} hidden files or folders.")
        return found


def suffix_of(name: str) -> str:
    """Return the extension of a file in small letters, with its dot."""
    return PurePosixPath(name).suffix.lower()


def check_name(root: Path, name: str) -> None:
    """Check that a path can be written to a text file of lines.

    Raises:
        DataError: If it cannot.
    """
    broken = "\n" in name or "\r" in name or name != name.strip()
    if not broken and name.isascii():
        return
    try:
        name.encode()
    except UnicodeEncodeError:
        broken = True
    if broken:
        raise DataError(
            f"{str(root)!r}: the name {name!r} begins or ends with a blank, or holds a line break "
            "or bytes that are no text; rename it."
        )


def named_place(root: Path, option: str) -> Path | None:
    """Find the file or folder that an option names, relative to the root or the working directory.

    Returns:
        Its absolute path; None for ``auto`` and ``none``.

    Raises:
        DataError: If there is no such file.
    """
    if option in (AUTO, NONE):
        return None
    places = [root / Path(option).expanduser(), Path(option).expanduser().absolute()]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise DataError(f"{places[0]}: is no file or folder, nor is {places[1]}; correct the path.")
    return found


def named_files(root: Path, option: str, suffixes: frozenset[str]) -> list[FoundFile]:
    """List the files that an option names: one, or those below a folder.

    Args:
        root: The folder of the photographs.
        option: See `named_place`.
        suffixes: Endings of the files, in small letters.

    Returns:
        The files, their names relative to the root where they lie below it, absolute elsewhere.

    Raises:
        DataError: If there is no such file.
    """
    place = named_place(root, option)
    if place is None:
        return []
    paths = [place] if place.is_file() else sorted(place.rglob("*"))
    paths = [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]
    if not paths:
        kinds = ", ".join(sorted(suffixes))
        raise DataError(f"{place}: holds no files of the kinds {kinds}; correct the path.")
    return [_found(root, path) for path in paths]


def _found(root: Path, path: Path) -> FoundFile:
    name = path.relative_to(root) if path.is_relative_to(root) else path
    facts = path.stat()
    return FoundFile(name.as_posix(), facts.st_size, facts.st_mtime_ns)
