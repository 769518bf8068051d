"""List of the members of a tar file, by which they are read without unpacking anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from learned_saliency.datamodules.opening import ImageError, check_regular
from learned_saliency.datamodules.textfile import DataError

_BLOCK = 512
_LONGEST = 1 << 20  # bytes of a long name, or of other notes on a member
_EMPTY = bytes(_BLOCK)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
_FILES, _WITHOUT_CONTENT = b"07\0", b"123456"  # kinds of members
_LONG_NAME, _LONG_LINK, _NOTES, _COMMON_NOTES, _SPARSE = b"L", b"K", b"x", b"g", b"S"


class Member(NamedTuple):
    """File within a tar file.

    Attributes:
        name: Its name, as the tar file has it.
        offset: Place of its first byte in the tar file.
        size: Its length in bytes.
    """

    name: str
    offset: int
    size: int


class _DamagedError(ValueError):
    """Error of a header that is none."""


def read_members(path: Path) -> Iterator[Member]:
    """Go through the files in a tar file, in their order; their bytes are not read.

    Folders, links and devices among its members are passed over. No name leads anywhere: nothing is
    ever unpacked. The formats are those of POSIX (ustar, pax) and of GNU.

    Args:
        path: The tar file, uncompressed, since a member in the middle has to be found.

    Raises:
        DataError: If the file is missing, compressed, damaged or cut off.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(2)
            if start in _COMPRESSED:
                raise DataError(
                    f"{path}: is compressed by {_COMPRESSED[start]}, so that no member can be "
                    "found without reading all before it; uncompress it once, to a plain .tar."
                )
            yield from _members(path, file)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such shard; restore it.") from None
    except ImageError as error:
        raise DataError(f"{path}: is no shard ({error}); replace it.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None


def _members(path: Path, file: BinaryIO) -> Iterator[Member]:
    size, offset, notes = os.fstat(file.fileno()).st_size, 0, {}
    while True:
        file.seek(offset)
        header = file.read(_BLOCK)
        if header == _EMPTY:
            return
        if len(header) < _BLOCK:
            raise DataError(f"{path}: is cut off, its end is missing; replace it.")
        try:
            kind, length = _checked(header)
            length = int(notes.get("size", length))
            if length < 0:
                raise _DamagedError("a length below 0")
            content = file.read(length) if _describes(kind, length) else b""
            name = notes.get("path") or _name(header)
            notes = notes | _described(kind, content) if content else {}
        except ValueError as error:  # a name that is no UTF-8 raises one, too
            reason = f" ({error})" if isinstance(error, _DamagedError) else ""
            raise DataError(f"{path}: is damaged at byte {offset}{reason}; replace it.") from None
        start = offset + _BLOCK
        if kind in _WITHOUT_CONTENT:
            length = 0
        elif start + length > size:
            raise DataError(f"{path}: member {name}: is cut off; replace the shard.")
        if kind in _FILES and not name.endswith("/"):
            yield Member(name, start, length)
        offset = start + -(-length // _BLOCK) * _BLOCK


def _checked(header: bytes) -> tuple[bytes, int]:
    """Return the kind of a member and its length, where the header's sum is right."""
    told = _number(header[148:156])
    if sum(header) - sum(header[148:156]) + 8 * ord(" ") != told:
        raise _DamagedError("the sum of a header is wrong")
    if header[156:157] == _SPARSE:
        raise _DamagedError("a sparse file")
    return header[156:157], _number(header[124:136])


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's form of large numbers
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
    return int(field.strip(b" \0") or b"0", 8)


def _name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        return f"{prefix}/{name}"
    return name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode()


def _describes(kind: bytes, length: int) -> bool:
    """Tell whether a member is a note on the next one."""
    if kind not in (_LONG_NAME, _LONG_LINK, _NOTES, _COMMON_NOTES):
        return False
    if length > _LONGEST:
        raise _DamagedError(f"notes of {length} bytes on a member")
    return True


def _described(kind: bytes, content: bytes) -> Mapping[str, str]:
    """Read what a note says of the next member: its name or size."""
    if kind == _LONG_NAME:
        return {"path": _text(content)}
    if kind != _NOTES:
        return {}
    notes = {}
    while content.strip(b"\0"):
        length = int(content.partition(b" ")[0])
        if not 0 < length <= len(content):
            raise _DamagedError("a note of a wrong length")
        key, _, value = content[:length].partition(b" ")[2].rstrip(b"\n").partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise _DamagedError("a sparse file")
        if key in (b"path", b"size"):
            notes[key.decode()] = value.decode()
        content = content[length:]
    return notes
