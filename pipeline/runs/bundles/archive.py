"""Zip archives of one form: from names and contents follows every byte, headers included.

Members are stored as they are, one behind the other, without times, attributes or gaps. Any zip
tool reads such an archive; this module alone decides how it is written, so that no version of
Python's zipfile can write it differently.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_END_64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR_64 = struct.Struct("<IIQI")
_DATE = 0x21  # 1 January 1980, the first that zip knows
_VERSION, _VERSION_64 = 20, 45  # zip's own version that is needed to read a member
_MADE_BY = 3 << 8 | _VERSION_64  # Unix
_MODE = 0o100644 << 16  # a plain file
_MOST = 0xFFFFFFFF  # from here on a size stands in a field of 64 bits
_MOST_MEMBERS = 0xFFFF


class Member(NamedTuple):
    """Member of an archive.

    Attributes:
        name: Its name, ASCII.
        size: Number of its bytes.
        crc: Their CRC-32.
    """

    name: str
    size: int
    crc: int


def checksum(chunks: Iterable[bytes], crc: int = 0) -> int:
    """Compute the CRC-32 of bytes in chunks, behind bytes whose CRC-32 is known."""
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    return crc


def local_header(member: Member) -> bytes:
    """Write what stands before the content of a member."""
    extra = _extra(member.size, member.size) if member.size >= _MOST else b""
    size, version = min(member.size, _MOST), _version(extra)
    name = member.name.encode("ascii")
    fields = (0x04034B50, version, 0, 0, 0, _DATE, member.crc, size, size, len(name), len(extra))
    return _LOCAL.pack(*fields) + name + extra


def offsets(sizes: Iterable[tuple[str, int]]) -> Iterator[int]:
    """Yield where the header of each member begins, and last where the directory begins."""
    offset = 0
    for name, size in sizes:
        yield offset
        offset += len(local_header(Member(name, size, 0))) + size
    yield offset


def directory_entry(member: Member, offset: int) -> bytes:
    """Write the entry of a member in the directory; its header begins at ``offset``."""
    long = [value for value in (member.size, member.size, offset) if value >= _MOST]
    extra, name = _extra(*long), member.name.encode("ascii")
    size, version = min(member.size, _MOST), _version(extra)
    fields = (0x02014B50, _MADE_BY, version, 0, 0, 0, _DATE, member.crc, size, size, len(name))
    tail = (len(extra), 0, 0, 0, _MODE, min(offset, _MOST))
    return _CENTRAL.pack(*fields, *tail) + name + extra


def archive_end(members: int, start: int, size: int) -> bytes:
    """Write the end of an archive.

    Args:
        members: Number of members.
        start: Offset of the directory.
        size: Number of its bytes.
    """
    end = b""
    if members >= _MOST_MEMBERS or start >= _MOST or size >= _MOST:
        versions = (_MADE_BY, _VERSION_64, 0, 0)
        end = _END_64.pack(0x06064B50, 44, *versions, members, members, size, start)
        end += _LOCATOR_64.pack(0x07064B50, 0, start + size, 1)
    count = min(members, _MOST_MEMBERS)
    fields = (0x06054B50, 0, 0, count, count, min(size, _MOST), min(start, _MOST), 0)
    return end + _END.pack(*fields)


def archive_size(sizes: Iterable[tuple[str, int]]) -> int:
    """Compute the number of bytes of an archive of members of these names and sizes."""
    sizes = list(sizes)
    *begins, start = offsets(sizes)
    entries = (
        len(directory_entry(Member(name, size, 0), offset))
        for (name, size), offset in zip(sizes, begins, strict=True)
    )
    length = sum(entries)
    return start + length + len(archive_end(len(sizes), start, length))


def _extra(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""


def _version(extra: bytes) -> int:
    return _VERSION_64 if extra else _VERSION
