"""Images in parquet files, read by row with bounded memory."""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learned_saliency.datamodules.opening import ImageError
from learned_saliency.datamodules.textfile import DataError

if TYPE_CHECKING:
    from pyarrow import Table
    from pyarrow.parquet import ParquetFile

_KEPT_GROUPS = 2  # row groups of one process that stay in memory
_AT_A_TIME = 64  # rows


class RowFile:
    """Parquet file of images, opened when it is first needed, in each process anew.

    The last row groups stay in memory, so that reading in order costs one read of the file. It may
    be pickled, and used by several threads and by processes that are forked.

    Args:
        path: The file.
        image: Name of the column of images: bytes, or a group that has ``bytes``.
    """

    def __init__(self, path: Path, image: str) -> None:
        self.path, self.image = path, image
        self._forget()

    def _forget(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._file: ParquetFile | None = None
        self._starts: list[int] | None = None  # first rows of the groups, and the number of rows
        self._groups: OrderedDict[int, Sequence[Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "image": self.image}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    @property
    def file(self) -> ParquetFile:
        """The open file.

        Raises:
            DataError: If pyarrow is not installed, or the file is no readable parquet file.
        """
        if self._process != os.getpid():
            self._forget()
        if self._file is None:
            self._file = _opened(self.path)
        return self._file

    def features(self) -> Mapping[str, Any]:
        """Return the columns' meanings that Hugging Face's library writes; empty without them."""
        try:
            noted = json.loads(self.file.schema_arrow.metadata[b"huggingface"])
            return dict(noted["info"]["features"])
        except (KeyError, TypeError, ValueError):
            return {}

    def table(self, columns: Sequence[str]) -> Table:
        """Read whole columns, other than the images.

        Raises:
            DataError: If the file is damaged.
        """
        try:
            return self.file.read(columns=[*columns])
        except OSError as error:
            raise _damaged(self.path, error) from None

    def rows(self) -> Iterator[bytes]:
        """Yield the bytes of all images in order, with few of them in memory.

        Raises:
            DataError: If the file is damaged, or an image is a path instead of bytes.
        """
        number = 0
        try:
            for batch in self.file.iter_batches(_AT_A_TIME, columns=[self.image]):
                for cell in batch.column(0):
                    content = _bytes(cell)
                    if content is None:
                        raise DataError(
                            f"{self.path}, row {number}: holds no bytes of an image; images that "
                            "are paths are not read: embed them."
                        )
                    yield content
                    number += 1
        except OSError as error:
            raise _damaged(self.path, error) from None

    def read(self, row: int) -> bytes:
        """Read the bytes of one image.

        Raises:
            ImageError: If there is no such row, or its image cannot be read.
            DataError: See `file`.
        """
        if self._process != os.getpid():
            self._forget()
        with self._lock:
            group, place = self._place(row)
            if group not in self._groups:
                try:
                    self._groups[group] = self.file.read_row_group(group, [self.image]).column(0)
                except OSError as error:
                    raise ImageError(f"damaged ({error})") from None
                while len(self._groups) > _KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            content = _bytes(self._groups[group][place])
        if content is None:
            raise ImageError("the row holds no bytes of an image")
        return content

    def _place(self, row: int) -> tuple[int, int]:
        """Find the row group of a row, and the row's place in it."""
        if self._starts is None:
            facts = self.file.metadata
            counts = [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]
            self._starts = [*accumulate(counts, initial=0)]
        if not 0 <= row < self._starts[-1]:
            raise ImageError(f"there is no row {row}")
        group = bisect_right(self._starts, row) - 1
        return group, row - self._starts[group]


def _opened(path: Path) -> ParquetFile:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(
            f"{path}: is read by pyarrow; install it by pip install 'learned-saliency[parquet]'."
        ) from None
    try:
        return ParquetFile(path, memory_map=True)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    first = str(error).splitlines() or [type(error).__name__]
    return DataError(f"{path}: is no readable parquet file ({first[0].rstrip('.')}); replace it.")


def _bytes(cell: Any) -> bytes | None:
    """Take the bytes out of a cell, which holds them itself or in a group."""
    value = cell.as_py()
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else None
