"""Files of finished maps, of any tool: arrays of NumPy, and gray PNG. Nothing is unpickled."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Endings of files of maps; where there are several for an image, the first one counts.
ENDINGS = (".npy", ".npz", ".png")
_MOST_PIXELS = 1 << 26
_NUMBERS = "biuf"  # kinds of NumPy's types: switches, integers and floating-point numbers
_LEVELS = {"1": 1, "L": 255, "I;16": 65535, "I;16B": 65535, "I": 65535}  # white, by Pillow's mode
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class MapError(ValueError):
    """Error of a file that is no map; the message tells why and ends a sentence."""


class MapFile(NamedTuple):
    """Place of a map.

    Attributes:
        path: Its file.
        key: Name of the array in an ``.npz`` of many maps; empty for the file's only one.
    """

    path: Path
    key: str = ""

    def __str__(self) -> str:
        """Return the name in messages."""
        return f"{self.path}[{self.key}]" if self.key else str(self.path)


def check_header(file: MapFile) -> tuple[int, int]:
    """Check by its header that a file holds a map; its values are not read.

    Returns:
        Height and width of the map.

    Raises:
        MapError: If it does not.
    """
    try:
        shape = _SHAPES[file.path.suffix.lower()](file)
    except MapError:
        raise
    except Exception as error:  # readers raise anything on a damaged file
        raise MapError(f"cannot be read ({_reason(error)})") from None
    if len(shape) != 2 or 0 in shape:
        raise MapError(f"has the shape {shape}, not (H, W)")
    if shape[0] * shape[1] > _MOST_PIXELS:
        raise MapError(f"has {shape[0]} x {shape[1]} pixels, more than {_MOST_PIXELS}")
    return shape


def read_map(file: MapFile) -> NDArray[np.float32]:
    """Read the values of a map; those of a PNG are fractions of white.

    Returns:
        float32 (H, W), any finite range.

    Raises:
        MapError: If the file holds no map, or a value that is not finite.
    """
    check_header(file)
    try:
        values = _READERS[file.path.suffix.lower()](file)
    except Exception as error:  # see `check_header`
        raise MapError(f"cannot be read ({_reason(error)})") from None
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise MapError("has NaN or infinite values")
    return values


def keys(path: Path) -> list[str]:
    """List the names of the arrays in an ``.npz``.

    Raises:
        MapError: If it is no such file.
    """
    try:
        return list(_archive(path).files)
    except Exception as error:  # see `check_header`
        raise MapError(f"cannot be read ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def _archive(path: Path) -> Any:
    return _opened(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: Path, written: int) -> Any:
    """Open an archive, which may be one of all maps, once as long as it is not written anew."""
    if not zipfile.is_zipfile(path):
        raise MapError("is no .npz")
    return np.load(path, allow_pickle=False)


def _key(file: MapFile) -> str:
    """Name the array that is meant; without a key the file's only one."""
    if file.key:
        return file.key
    names = keys(file.path)
    if len(names) != 1:
        raise MapError(f"holds {len(names)} arrays instead of one map")
    return names[0]


def _header(stream: IO[bytes]) -> tuple[int, ...]:
    """Read the shape in the header of an array.

    Raises:
        MapError: If the array is none of real numbers.
    """
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise MapError(f"has version {version} of the format, which arrays of numbers do not need")
    shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise MapError("holds pickled objects, which are never loaded; save an array of numbers")
    if dtype.kind not in _NUMBERS:
        raise MapError(f"holds values of type {dtype}, not real numbers")
    return shape


def _array_shape(file: MapFile) -> tuple[int, ...]:
    with file.path.open("rb") as stream:
        shape = _header(stream)
    np.load(file.path, mmap_mode="r", allow_pickle=False)  # raises where the end is missing
    return shape


def _member_shape(file: MapFile) -> tuple[int, ...]:
    archive = _archive(file.path).zip
    key = _key(file)
    member = key if key in archive.namelist() else f"{key}.npy"
    with archive.open(member) as stream:
        return _header(stream)


def _png_shape(file: MapFile) -> tuple[int, ...]:
    with Image.open(file.path, formats=["PNG"]) as image:
        if image.mode not in _LEVELS:
            raise MapError(f"is a picture in colors (mode {image.mode}), not gray")
        return image.height, image.width


def _png_values(file: MapFile) -> NDArray[Any]:
    with Image.open(file.path, formats=["PNG"]) as image:
        return np.asarray(image, np.float64) / _LEVELS[image.mode]


_SHAPES = {".npy": _array_shape, ".npz": _member_shape, ".png": _png_shape}
_READERS = {
    ".npy": lambda file: np.load(file.path, allow_pickle=False),
    ".npz": lambda file: _archive(file.path)[_key(file)],
    ".png": _png_values,
}
