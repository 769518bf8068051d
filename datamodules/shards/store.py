"""Random access to the members of shards, by an index of each shard that is kept in the cache."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.opening import ImageError
from learned_saliency.datamodules.shards.tars import Member, read_members

MEMBER = ".tar/"  # between a shard's name and a member's in an id
_OPEN = 64  # shards of a process that stay open
_ROW = np.dtype([("name", "<u8"), ("offset", "<i8"), ("size", "<i8")])


def kept_folder(name: str) -> Path:
    """Return a folder below ``LEARNED_SALIENCY_CACHE``, or else ``~/.cache/learned-saliency``."""
    return Path(
        os.environ.get("LEARNED_SALIENCY_CACHE", "~/.cache/learned-saliency"), name
    ).expanduser()


def member_id(shard: str, name: str) -> str:
    """Name a member of a shard: ``train-000.tar/000123.jpg``.

    Args:
        shard: Name of the shard, relative to the root, which ends in ``.tar``.
        name: Name of the member.
    """
    return f"{shard}/{name}"


def split_id(image_id: str) -> tuple[str, str]:
    """Take the name of a member apart; see `member_id`.

    Raises:
        ImageError: If it names none.
    """
    shard, between, name = image_id.partition(MEMBER)
    if not between:
        raise ImageError("the id is not that of a member, SHARD.tar/NAME")
    return f"{shard}.tar", name


class ShardStore:
    """Shards below a folder, whose members are read by their names.

    Shards are opened when they are needed, in each process anew; it may be pickled, and used by
    several threads and by processes that are forked. The index of a shard, 24 bytes per member, is
    made once by reading its headers and then kept in the cache, by place, size and time of the
    shard.

    Args:
        root: The folder.
        locate: Finds, or fetches, the file of a shard by its name; None for files below the root.
    """

    def __init__(self, root: Path, locate: Callable[[str], Path] | None = None) -> None:
        self._root, self._locate = root, locate
        self._forget()

    def _forget(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._shards: OrderedDict[str, _Shard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"_root": self._root, "_locate": self._locate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def path(self, shard: str) -> Path:
        """Return the file of a shard; one that is not on this machine is fetched."""
        return self._root / shard if self._locate is None else self._locate(shard)

    def read(self, image_id: str) -> bytes:
        """Read the content of a member.

        Args:
            image_id: See `member_id`.

        Raises:
            ImageError: If there is no such member, or it cannot be read.
            DataError: If the shard is missing or damaged.
        """
        name, member = split_id(image_id)
        if self._process != os.getpid():  # a thread of the other process may hold the lock
            self._forget()
        with self._lock:
            shard = self._shards.pop(name, None) or _Shard(self.path(name))
            self._shards[name] = shard
            while len(self._shards) > _OPEN:
                self._shards.popitem(last=False)
        return shard.read(member)


class _Shard:
    """Open shard; its file is closed when the last reader has let go of it."""

    def __init__(self, path: Path) -> None:
        self._index = _index_of(path)
        self._file = path.open("rb", buffering=0)

    def read(self, name: str) -> bytes:
        """Read the content of a member by its name."""
        place = int(np.searchsorted(self._index["name"], _number_of(name)))
        if place == len(self._index) or self._index["name"][place] != _number_of(name):
            raise ImageError("the shard has no such member")
        _, offset, size = self._index[place].tolist()
        try:
            # without a position of the file, which threads and forked processes share
            content = os.pread(self._file.fileno(), size, offset)
        except OSError as error:
            raise ImageError(error.strerror or str(error)) from None
        if len(content) < size:
            raise ImageError("the shard is cut off")
        return content


def _number_of(name: str) -> np.uint64:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8)
    return np.uint64(int.from_bytes(digest.digest(), "little"))


def _index_of(path: Path) -> NDArray[Any]:
    """Find the index of a shard in the cache, or make it: sorted rows, mapped into memory."""
    state = path.stat() if path.exists() else None
    told = "" if state is None else f"{path.absolute()}\0{state.st_size}\0{state.st_mtime_ns}"
    name = hashlib.blake2b(told.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    kept = kept_folder("shard-indexes") / f"{name}.npy"
    with suppress(OSError, ValueError):
        found = np.load(kept, mmap_mode="r", allow_pickle=False)
        if found.dtype == _ROW and found.ndim == 1:
            return found
    made = _made_index(list(read_members(path)))
    temporary = kept.with_name(f".{name}.{uuid.uuid4().hex}")
    try:  # where nothing can be kept, each process makes it anew
        kept.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.save(file, made, allow_pickle=False)
        temporary.replace(kept)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return made


def _made_index(members: list[Member]) -> NDArray[Any]:
    rows = np.empty(len(members), _ROW)
    rows["name"] = [_number_of(member.name) for member in members]
    rows["offset"] = [member.offset for member in members]
    rows["size"] = [member.size for member in members]
    return np.sort(rows, order="name")
