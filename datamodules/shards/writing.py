"""Writing of shards, each whole or not at all."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ShardWriter:
    """Writer of the members of a shard; the same members give the same bytes.

    Attributes:
        bytes: Length of the shard so far.
    """

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    @property
    def bytes(self) -> int:
        """Length of the shard so far."""
        return self._archive.offset

    def add(self, name: str, content: bytes) -> None:
        """Add a member.

        Args:
            name: Its name: the key of its sample, a dot and an ending.
            content: Its content.
        """
        info = tarfile.TarInfo(name)  # time, owner and rights are the same for all
        info.size, info.mode = len(content), 0o644
        self._archive.addfile(info, io.BytesIO(content))


@contextmanager
def writing_shard(path: Path) -> Iterator[ShardWriter]:
    """Write a shard that appears, under its name and on the disk, when it is whole.

    Several processes may write the same shard: the last one counts.

    Args:
        path: The shard; its folder is made as needed.

    Yields:
        The writer of its members.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w:", format=tarfile.GNU_FORMAT) as archive:
                yield ShardWriter(archive)
                archive.members.clear()
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
