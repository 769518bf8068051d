"""Writers of whole files, which appear under a temporary name and are then renamed."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ATTEMPTS = 20
_MAX_JSON = 2**26  # bytes, of a file that this project wrote


@contextmanager
def replacing(path: Path, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """Write a file that appears when it is whole; a failure leaves what was there before.

    Args:
        path: The file; the folder is made as needed.
        durable: Whether the content is on the disk before the file appears, so that a power cut
            leaves the old or the new file and never an empty one.
        shared: Whether several processes or threads may write the file at once, each under a name
            of its own; the last one counts.

    Yields:
        A path beside ``path`` to write to. At the end this file takes the place of ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{uuid.uuid4().hex}" if shared else ""
    temporary = path.with_name(f"{path.name}{own}.tmp")
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def replace_folder(made: Path, path: Path) -> None:
    """Put a finished folder in the place of another one, or where there is none.

    At no moment is a part of either there, and a failure leaves the old one.

    Args:
        made: The finished folder. The old folder is moved beside it, for the caller to delete.
        path: The place, on the same file system.

    Raises:
        OSError: If the folder cannot be moved.
    """
    for attempt in range(_ATTEMPTS):  # others may put theirs there meanwhile
        aside = made.with_name(f"{made.name}.old-{attempt}")
        try:
            _swap(made, path, aside)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == _ATTEMPTS - 1:
                raise


def _swap(made: Path, path: Path, aside: Path) -> None:
    try:
        with suppress(FileNotFoundError):
            path.rename(aside)
        made.rename(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes, durable: bool = False) -> None:
    """Write a binary file; see `replacing`."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str, durable: bool = False) -> None:
    """Write a text file in UTF-8; see `replacing`."""
    write_bytes(path, content.encode(), durable)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table with a row of column names; see `replacing`.

    Args:
        path: The file.
        columns: Names of the columns; cells that a row lacks stay empty.
        rows: Values by column.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)


def read_json(path: Path) -> Any:
    """Read a JSON file, which may be anyone's.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no JSON, has too many levels, or over 64 MiB.
    """
    with path.open("rb") as file:
        return parse_json(file.read(_MAX_JSON + 1))


def parse_json(content: bytes) -> Any:
    """Parse JSON, which may be anyone's.

    Raises:
        ValueError: If it is no JSON, has too many levels, or over 64 MiB.
    """
    if len(content) > _MAX_JSON:
        raise ValueError(f"more than {_MAX_JSON} bytes")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("too many levels") from None


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
