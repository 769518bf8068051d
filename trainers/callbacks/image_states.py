"""States of single images: as text in the cells of a table, and as a file of arrays."""

from __future__ import annotations

import base64
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.storage import replacing

States = Mapping[str, NDArray[Any]]

#: File beside the table of images with what metrics that are no means count of each image.
STATES_FILE = "image_states.npz"
_MOST_BYTES = 2**14  # largest state of an image, for each byte of the images' names
_TIME = (1980, 1, 1, 0, 0, 0)  # time of all members: equal contents give equal files
_NARROW = {np.dtype(np.int64): np.dtype(np.int32)}  # counts of pixels of an image fit


def pack_states(states: Mapping[str, Tensor], row: int) -> str:
    """Write the states of one image of a batch, each (B, ...), as text."""
    found = {name: values[row].cpu().numpy() for name, values in states.items()}
    found = {name: v.astype(_NARROW.get(v.dtype, v.dtype)) for name, v in found.items()}
    told = json.dumps([(name, v.dtype.str, v.shape) for name, v in found.items()])
    parts = [told.encode(), b"\n", *(v.tobytes() for v in found.values())]
    return base64.b64encode(zlib.compress(b"".join(parts))).decode()


def unpack_states(text: str) -> dict[str, NDArray[Any]]:
    """Read what `pack_states` wrote, arrays (...) by the names of the states."""
    told, _, content = zlib.decompress(base64.b64decode(text)).partition(b"\n")
    found, start = {}, 0
    for name, kind, shape in json.loads(told):
        values = np.frombuffer(content, kind, int(np.prod(shape)), start).reshape(shape)
        found[name], start = values, start + values.nbytes
    return found


def write_image_states(path: Path, cells: Mapping[str, Mapping[str, str]]) -> None:
    """Write the states of all images as an ``.npz``.

    It holds ``image_ids``, ``methods`` and for each method and state an array (N, ...) called
    ``NUMBER/SCORE/STATE``, NUMBER being the method's place in ``methods``; zeros stand for an image
    without the state, which adds nothing to a sum.

    Args:
        path: The file.
        cells: Texts of `pack_states` by method and image.
    """
    image_ids = list(dict.fromkeys(image for of_method in cells.values() for image in of_method))
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, "image_ids", np.array(image_ids, dtype=np.str_))
        _add(archive, "methods", np.array(list(cells), dtype=np.str_))
        for number, of_method in enumerate(cells.values()):
            for name, values in _joined(of_method, image_ids):
                _add(archive, f"{number}/{name}", values)


def read_image_states(
    path: Path | BinaryIO,
) -> tuple[list[str], dict[str, dict[str, NDArray[Any]]]]:
    """Read a file of `write_image_states`, which may be anyone's.

    Args:
        path: The file.

    Returns:
        Names of the N images, and the arrays (N, ...) by method and ``SCORE/STATE``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as archive:
            image_ids = archive["image_ids"].tolist()
            found: dict[str, dict[str, NDArray[Any]]] = {}
            for number, method in enumerate(archive["methods"].tolist()):
                begin = f"{number}/"
                keys = [key for key in archive.files if key.startswith(begin)]
                found[method] = {key.removeprefix(begin): archive[key] for key in keys}
    except (KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        name = path if isinstance(path, Path) else STATES_FILE
        raise ValueError(f"{name}: is no file of states of images ({error})") from None
    return image_ids, found


def _check_sizes(path: Path | BinaryIO) -> None:
    """Check that arrays have no more bytes than the states of as many images may have."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = sum(member.file_size for member in members if member.filename == "image_ids.npy")
    if any(member.file_size > _MOST_BYTES * (names + 1) for member in members):
        raise ValueError("an array takes more memory than states of its images")


def _joined(
    cells: Mapping[str, str], image_ids: Sequence[str]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Join the states of all images by name."""
    known = {image: unpack_states(text) for image, text in cells.items() if text}
    names = dict.fromkeys(name for states in known.values() for name in states)
    for name in names:
        empty = np.zeros_like(next(s[name] for s in known.values() if name in s))
        yield name, np.stack([known.get(image, {}).get(name, empty) for image in image_ids])


def _add(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    member = zipfile.ZipInfo(f"{name}.npy", _TIME)
    member.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(member, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)
