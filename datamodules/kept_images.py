"""Resized images that are kept on disk from one run to the next."""

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules.decoding import COLORS
from learned_saliency.datamodules.opening import (
    ImageError,
    ImageSource,
    MissingImageError,
    PackedImage,
    check_regular,
)
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.textfile import DataError
from learned_saliency.datamodules.transforms import unreadable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOGGER = logging.getLogger(__name__)
_CHUNK = 256  # images that are written, then noted, at a time
_PIXELS, _NOTES = ".pixels", ".notes"  # endings of the two files of a shard
_SECONDS = 60.0  # between two messages of progress


class _Place(NamedTuple):
    """Place of an image's pixels: the stem of a shard's files and a row in it."""

    shard: str
    row: int


class _Stamp(NamedTuple):
    """Sign that a file is the one read before: its size and time of change."""

    size: int
    modified: int


class _Known(NamedTuple):
    """Content of the notes of all shards: places by content, contents by name and stamp."""

    places: dict[str, _Place]
    files: dict[tuple[str, _Stamp], str]

    def place(self, name: str, stamp: _Stamp | None) -> _Place | None:
        """Find the pixels of a file that is as it was when it was noted."""
        return self.places.get(self.files.get((name, stamp)))


class KeptImages:
    """Images of one size, mapped into memory: all processes of a machine share the pages.

    Args:
        folder: Folder of the shards.
        places: Shard and row of each image.
        size: Height H and width W of the images in pixels.
        channels: Number C of their channels.
    """

    def __init__(self, folder: Path, places: Sequence[_Place], size: Size, channels: int) -> None:
        names = sorted({place.shard for place in places})
        numbers = {name: number for number, name in enumerate(names)}
        self._paths = [folder / f"{name}{_PIXELS}" for name in names]
        self._shards = np.array([numbers[place.shard] for place in places], np.int32)
        self._rows = np.array([place.row for place in places], np.int64)
        self._size, self._channels = size, channels
        self._maps: list[np.memmap] = []

    def __getitem__(self, index: int) -> Tensor:
        """Return an image as it was read, (C, H, W); not to be changed."""
        if not self._maps:
            self._maps = [_mapped(path, self._size, self._channels) for path in self._paths]
        return torch.from_numpy(self._maps[self._shards[index]][self._rows[index]])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the maps, which each process makes for itself."""
        return {**vars(self), "_maps": []}


def keep_images(
    folder: Path,
    sources: Sequence[ImageSource],
    size: int | Sequence[int],
    read: Callable[[ImageSource], Tensor],
    channels: int = COLORS,
) -> KeptImages:
    """Find the resized images of a data set in a folder, and make those that are missing there.

    An image is known by the SHA-256 of its encoded bytes. Of a file whose name, size and time of
    change were noted, the bytes are not read again. Pixels are written before they are noted, into
    files that this call alone writes, in chunks: what was noted before an interruption is not made
    again. Of several processes the first makes the images and the others wait for it.

    Args:
        folder: Folder for images of this size and kind; it is made if needed.
        sources: N images.
        size: Side of a square in pixels to which they are resized, or height H and width W.
        read: Decodes and resizes an image to uint8 (3, H, W), or float32 (C, H, W) of other C.
        channels: Number C of channels.

    Raises:
        DataError: If an image is missing or does not decode, or the folder cannot be made.
        OSError: If the disk is full.
    """
    size = Size.of(size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        message = "is no folder, so that no images can be kept there; set data.cache_folder."
        raise DataError(f"{folder}: {message}") from None
    names, stamps = [str(source) for source in sources], [_stamp(source) for source in sources]
    places = _look_up(_notes(folder, size, channels), names, stamps)
    if None in places:
        with _alone(folder):
            known = _notes(folder, size, channels)
            places = _look_up(known, names, stamps)
            missing = [number for number, place in enumerate(places) if place is None]
            writer = _Writer(folder, size, channels, known)
            made = writer.add([(sources[n], names[n], stamps[n]) for n in missing], read)
            for number, place in zip(missing, made, strict=True):
                places[number] = place
    return KeptImages(folder, places, size, channels)


class _Writer:
    """Writer of one shard."""

    def __init__(self, folder: Path, size: Size, channels: int, known: _Known) -> None:
        self._folder, self._known, self._bytes = folder, known, _bytes(size, channels)
        self._shard, self._rows = uuid.uuid4().hex, 0

    def add(
        self,
        images: Sequence[tuple[ImageSource, str, _Stamp | None]],
        read: Callable[[ImageSource], Tensor],
    ) -> list[_Place]:
        """Add images, each with its name and stamp; return their places."""
        if not images:
            return []
        _LOGGER.info("Keeping %d images in %s", len(images), self._folder)
        done, told = [], time.monotonic()
        with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
            for start in range(0, len(images), _CHUNK):
                chunk = images[start : start + _CHUNK]
                found = list(pool.map(lambda image: self._made(image[0], read), chunk))
                fresh = sum(pixels is not None for _, pixels in found)
                self._check_space(fresh * (len(images) - start) // len(chunk))
                done += self._write(chunk, found)
                if time.monotonic() - told > _SECONDS:
                    told = time.monotonic()
                    _LOGGER.info("%d of %d images are kept", len(done), len(images))
        return done

    def _check_space(self, images: int) -> None:
        """Refuse to begin what the disk has no room for."""
        needed = images * self._bytes
        if needed > shutil.disk_usage(self._folder).free:
            why = f"data.cache=disk needs {needed / 1e9:.1f} GB more"
            raise OSError(errno.ENOSPC, why, str(self._folder))

    def _made(
        self, source: ImageSource, read: Callable[[ImageSource], Tensor]
    ) -> tuple[str, Tensor | None]:
        """Return an image's content and, unless that is known, its pixels."""
        encoded = _encoded(source)
        content = hashlib.sha256(encoded).hexdigest()
        if content in self._known.places:
            return content, None
        path = source.path if isinstance(source, PackedImage) else source
        return content, read(PackedImage(path, str(path), lambda image_id: encoded))

    def _write(
        self,
        chunk: Sequence[tuple[ImageSource, str, _Stamp | None]],
        found: Sequence[tuple[str, Tensor | None]],
    ) -> list[_Place]:
        """Write the pixels of a chunk of images, then the notes about it."""
        fresh = {content: pixels for content, pixels in found if pixels is not None}
        pixels = b"".join(image.numpy().tobytes() for image in fresh.values())
        _append(self._folder / f"{self._shard}{_PIXELS}", pixels)
        for content in fresh:
            self._known.places[content] = _Place(self._shard, self._rows)
            self._rows += 1
        places = [self._known.places[content] for content, _ in found]
        lines = [
            _note([place, content, name, stamp])
            for (_, name, stamp), (content, _), place in zip(chunk, found, places, strict=True)
            if stamp is not None or content in fresh
        ]
        _append(self._folder / f"{self._shard}{_NOTES}", "".join(lines).encode())
        return places


def _dtype(channels: int) -> type[np.generic]:
    """Return the type of kept values: 8 bits of colors, floats of what keeps its full depth."""
    return np.uint8 if channels == COLORS else np.float32


def _bytes(size: Size, channels: int) -> int:
    return channels * math.prod(size) * np.dtype(_dtype(channels)).itemsize


def _mapped(path: Path, size: Size, channels: int) -> np.memmap:
    """Map a shard; copy on write, which torch wants, though nobody writes."""
    rows = path.stat().st_size // _bytes(size, channels)
    return np.memmap(path, _dtype(channels), "c", shape=(rows, channels, *size))


def _encoded(source: ImageSource) -> bytes:
    """Read an image's encoded bytes."""
    try:
        if not isinstance(source, PackedImage):
            check_regular(source)
        return source.read_bytes()
    except FileNotFoundError:
        raise unreadable(source, "image", MissingImageError("No such file")) from None
    except ImageError as error:
        raise unreadable(source, "image", error) from None


def _append(path: Path, content: bytes) -> None:
    """Append to a file and wait until it is on the disk."""
    try:
        with path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _note(values: list[Any]) -> str:
    text = json.dumps(values)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _notes(folder: Path, size: Size, channels: int) -> _Known:
    """Read the notes of all shards; leave out lines and pixels that are not whole."""
    whole = _bytes(size, channels)
    rows = {path.stem: path.stat().st_size // whole for path in _files(folder, _PIXELS)}
    known = _Known({}, {})
    for path in _files(folder, _NOTES):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            checksum, _, text = line.partition(" ")
            if checksum != f"{zlib.crc32(text.encode()):08x}":
                continue
            place, content, name, stamp = json.loads(text)
            place = _Place(*place)
            if place.row < rows.get(place.shard, 0):
                known.places.setdefault(content, place)
            if stamp is not None:
                known.files[name, _Stamp(*stamp)] = content
    return known


def _files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{ending}") if path.is_file())


def _look_up(
    known: _Known, names: Sequence[str], stamps: Sequence[_Stamp | None]
) -> list[_Place | None]:
    return [known.place(name, stamp) for name, stamp in zip(names, stamps, strict=True)]


def _stamp(source: ImageSource) -> _Stamp | None:
    """Take the stamp of a file; None for one that is missing or no file, which has to be read."""
    if isinstance(source, PackedImage):
        return None
    try:
        found = os.stat(source)
    except OSError:
        return None
    return _Stamp(found.st_size, found.st_mtime_ns)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes images in a folder.

    Where the file system knows no locks, several make them at once, each in files of its own.
    """
    if fcntl is None:
        yield
        return
    with (folder / "lock").open("ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
