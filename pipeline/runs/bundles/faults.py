"""Search for damage in a bundle: every byte of the file is compared with what it has to be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from learned_saliency.pipeline.runs.bundles.archive import (
    Member,
    archive_end,
    checksum,
    directory_entry,
    local_header,
    offsets,
)
from learned_saliency.pipeline.runs.bundles.facts import FACTS, Digest
from learned_saliency.pipeline.runs.bundles.reading import BundleError, read_start

_CHUNK = 2**20
_END = "the end of the archive"


class Fault(NamedTuple):
    """Damage of a bundle.

    Attributes:
        member: Name of the damaged member, or of the part of the archive.
        what: What is wrong with it, the end of a sentence.
    """

    member: str
    what: str


def find_faults(path: Path) -> list[Fault]:
    """Find all damage of a bundle: a changed bit anywhere in the file is found.

    The description of the bundle knows all other members by name, size and SHA-256, and is itself
    compared with its CRC-32; from the contents follows every other byte of the archive.

    Returns:
        The faults in the order of the file, one for each damaged member; after some there is
        nothing to compare further with.

    Raises:
        UserError: If there is no bundle.
    """
    try:
        start = read_start(path)
    except BundleError as error:
        return [Fault(error.member, error.what)]
    told = {FACTS: Digest(start.first.size, ""), **start.facts.members}
    faults: dict[str, Fault] = {}
    with path.open("rb") as file:
        members = []
        for name, digest in told.items():
            member, what = _compare(file, name, digest)
            members.append(member)
            if what:
                faults[name] = Fault(name, what)
        for fault in _directory_faults(file, members):
            faults.setdefault(fault.member, fault)
    return list(faults.values())


def _compare(file: BinaryIO, name: str, digest: Digest) -> tuple[Member, str]:
    """Read a member; tell what is wrong with it, and nothing where all is right."""
    header = file.read(len(local_header(Member(name, digest.size, 0))))
    crc, sha256, left = 0, hashlib.sha256(), digest.size
    while left and (chunk := file.read(min(left, _CHUNK))):
        crc, left = checksum([chunk], crc), left - len(chunk)
        sha256.update(chunk)
    member = Member(name, digest.size, crc)
    if digest.sha256 and sha256.hexdigest() != digest.sha256:
        return member, "does not have the content of its digest"
    if header != local_header(member):
        return member, "has a damaged header in the archive"
    return member, ""


def _directory_faults(file: BinaryIO, members: Sequence[Member]) -> Iterator[Fault]:
    """Compare the directory at the end with what follows from the members."""
    *begins, start = offsets((member.name, member.size) for member in members)
    size = 0
    for member, offset in zip(members, begins, strict=True):
        entry = directory_entry(member, offset)
        size += len(entry)
        if file.read(len(entry)) != entry:
            yield Fault(member.name, "has a damaged entry in the archive's directory")
    if file.read() != archive_end(len(members), start, size):
        yield Fault(_END, "is damaged")
