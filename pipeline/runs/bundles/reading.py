"""Beginning of a bundle's file, from which the place of every other byte follows."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from learned_saliency.pipeline.cli import UserError, printable
from learned_saliency.pipeline.runs.bundles.archive import (
    Member,
    archive_size,
    checksum,
    local_header,
    offsets,
)
from learned_saliency.pipeline.runs.bundles.facts import (
    FACTS,
    FORMAT,
    MOST_FACTS,
    Facts,
    NoBundleError,
    read_facts,
)

_CRC = slice(14, 18)  # bytes within a member's header
_SIZES = slice(18, 26)
_MOST_WRONG = 8  # bytes of the first header by which a damaged bundle may differ from a whole one
_BEGIN = 1000  # bytes of a description within which its format stands
_LOCAL, _SIGNATURE = 30, b"PK\x03\x04"


class BundleError(UserError):
    """Error of a bundle that is damaged.

    Args:
        path: The bundle.
        member: Name of the damaged member, or of the part of the archive.
        what: What is wrong with it, the end of a sentence.

    Attributes:
        member: Likewise.
        what: Likewise.
    """

    def __init__(self, path: Path, member: str, what: str) -> None:
        self.member, self.what = member, what
        super().__init__(f"{path}: {member} {what}; get the file anew.")


class Start(NamedTuple):
    """Beginning of a bundle.

    Attributes:
        facts: Its description.
        first: Its first member, the description itself.
        size: Size of the file in bytes.
    """

    facts: Facts
    first: Member
    size: int


def read_start(path: Path) -> Start:
    """Read a bundle's description, and check that the file has the size that follows from it.

    Raises:
        BundleError: If it is damaged.
        UserError: If there is no bundle.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path}: is no file; expected a bundle of evaluate.py bundle=OUT.zip.")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = _first_content(path, file, size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        facts = read_facts(content)
    except NoBundleError as error:
        raise UserError(f"{path}: {printable(str(error))}.") from None
    first = Member(FACTS, len(content), checksum([content]))
    expected = archive_size([(FACTS, first.size), *sizes(facts)])
    if size != expected:
        raise BundleError(path, *_displaced(path, facts, first, size, expected))
    return Start(facts, first, size)


def sizes(facts: Facts) -> list[tuple[str, int]]:
    """List names and sizes of all members but the first."""
    return [(name, digest.size) for name, digest in facts.members.items()]


def _first_content(path: Path, file: BinaryIO, size: int) -> bytes:
    """Read the description; what stands before it must be as it is always written."""
    wanted = local_header(Member(FACTS, 0, 0))
    header = file.read(len(wanted))
    pattern = bytearray(header)
    for part in (_CRC, _SIZES):
        pattern[part] = bytes(len(pattern[part]))
    wrong = sum(a != b for a, b in zip(pattern, wanted, strict=False))
    is_other = wrong and f'"{FORMAT}"'.encode() not in file.read(_BEGIN)
    if len(header) < len(wanted) or wrong > _MOST_WRONG or is_other:
        raise UserError(f"{path}: is no bundle of evaluate.py bundle=OUT.zip.")
    crc, length, same = struct.unpack("<III", header[14:26])
    if wrong or length != same:
        raise BundleError(path, FACTS, "has a damaged header in the archive")
    if length > min(MOST_FACTS, size):
        raise BundleError(path, FACTS, "has a header that says more bytes than there are")
    content = file.read(length)
    if checksum([content]) != crc:
        raise BundleError(path, FACTS, "does not fit its checksum")
    return content


def _displaced(path: Path, facts: Facts, first: Member, size: int, expected: int) -> list[str]:
    """Find the first member that is not where it should be, in a file of another size."""
    parts = [(FACTS, first.size), *sizes(facts)]
    *begins, start = offsets(parts)
    with path.open("rb") as file:
        for (name, _), begin in zip(parts, begins, strict=True):
            file.seek(begin)
            header = file.read(_LOCAL)
            found = file.read(len(name)) if header[:4] == _SIGNATURE else b""
            if begin + _LOCAL + len(name) > size:
                return [name, "is missing: the file ends before it"]
            if found != name.encode():
                return [name, "is missing where it should be; the members before it are there"]
    if size < start:
        return [parts[-1][0], "is not whole: the file ends within it"]
    return ["the directory at its end", f"takes {size - expected:+d} bytes of what it should"]
