"""States of single images in a bundle, compared as they are read, without holding all of them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.pipeline.runs import Bundle
from learned_saliency.storage import check_directory
from learned_saliency.trainers import STATES_FILE, narrowed

_MOST_ENTRY = 1000  # bytes of an array's entry in the archive's directory
_MOST_ARRAYS = 50  # arrays of a method


class Unlike(NamedTuple):
    """State that is not as it is recomputed.

    Attributes:
        row: Number of the image in the batch; None for all.
        method: Name of the method; None for all.
        state: Name of the array.
    """

    row: int | None
    method: str | None
    state: str


class StoredStates:
    """Reader of ``image_states.npz`` of a bundle, image after image.

    Args:
        bundle: The bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._methods = bundle.facts.methods
        self._images = [image.image_id for image in bundle.images]
        self._file = bundle.region(STATES_FILE)
        self._streams: dict[str, IO[bytes]] = {}
        self._archive: zipfile.ZipFile | None = None

    def open(self) -> Iterator[Unlike]:
        """Open the file; tell what is wrong with the names in it."""
        most = _MOST_ENTRY * (2 + _MOST_ARRAYS * len(self._methods))
        try:
            check_directory(self._file, most)
            self._archive = zipfile.ZipFile(self._file)
        except (ValueError, zipfile.BadZipFile):
            yield Unlike(None, None, "the archive")
            return
        for name, texts in (("image_ids", self._images), ("methods", self._methods)):
            wanted = BytesIO()
            np.lib.format.write_array(wanted, np.array(texts, dtype=np.str_), allow_pickle=False)
            if self._read(name, len(wanted.getvalue()) + 1) != wanted.getvalue():
                yield Unlike(None, None, name)

    def compare(self, states: Mapping[str, Mapping[str, Tensor]]) -> Iterator[Unlike]:
        """Compare the next images with states (B, ...) by method and name."""
        for number, method in enumerate(self._methods):
            for name, found in states[method].items():
                values = np.ascontiguousarray(narrowed(found.cpu().numpy()))
                yield from self._compare(f"{number}/{name}", method, values)

    def close(self) -> Iterator[Unlike]:
        """End; tell which arrays are there that nobody recomputed, or go on."""
        if self._archive is not None:
            known = {"image_ids.npy", "methods.npy", *(f"{name}.npy" for name in self._streams)}
            for name in sorted(set(self._archive.namelist()) - known):
                yield Unlike(None, None, name)
            for name in self._streams:
                if self._read(name, 1):
                    yield Unlike(None, None, name)
        self._file.close()

    def _compare(self, name: str, method: str, values: NDArray[Any]) -> Iterator[Unlike]:
        if self._archive is None:
            return
        if name not in self._streams:
            header = BytesIO()
            told = np.lib.format.header_data_from_array_1_0(values)
            told["shape"] = (len(self._images), *values.shape[1:])
            np.lib.format.write_array_header_1_0(header, told)
            if self._read(name, len(header.getvalue())) != header.getvalue():
                yield Unlike(None, method, name)
        for row, value in enumerate(values):
            if self._read(name, value.nbytes) != value.tobytes():
                yield Unlike(row, method, name)

    def _read(self, name: str, size: int) -> bytes:
        """Read the next bytes of an array; none where it is damaged or missing."""
        assert self._archive is not None
        try:
            if name not in self._streams:
                self._streams[name] = self._archive.open(f"{name}.npy")
            return self._streams[name].read(size)
        except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError):
            return b""
