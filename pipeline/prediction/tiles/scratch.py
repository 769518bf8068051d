"""Arrays on disk that stand for arrays in memory and take little of it."""

from __future__ import annotations

import mmap
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Scratch:
    """A folder's nameless files, which hold arrays and vanish with the process, however it ends.

    Args:
        folder: Where the files lie, on a file system with room for them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = ExitStack()
        self._arrays: list[np.memmap] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._arrays.clear()
        self._files.close()

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Make an array of zeros; it is to be used within the ``with`` block alone."""
        made = tempfile.TemporaryFile(dir=self._folder, prefix=".tiles-")  # noqa: SIM115
        file = self._files.enter_context(made)
        array = np.memmap(file, dtype=dtype, mode="w+", shape=shape)
        self._arrays.append(array)
        return array

    def release(self) -> None:
        """Give back the memory of what was read and written; the files keep it."""
        for array in self._arrays:
            release(array)


def release(array: np.memmap) -> None:
    """Give back the memory of the parts of a mapped file that were read and written."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
