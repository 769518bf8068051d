"""Faults of the machine a command runs on, told in one sentence: full disks, killed processes."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor

from learned_saliency.errors import SurroundingsError

_SPACE = "free some space, or write elsewhere"
_RIGHTS = "change the permissions, or use another place"
_SYSTEM = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the disk quota is used up", _SPACE),
    errno.EFBIG: ("a file may not grow that large", "raise the limit (ulimit -f), or write less"),
    errno.EROFS: ("the file system is read-only", "write elsewhere"),
    errno.EACCES: ("access is denied", _RIGHTS),
    errno.EPERM: ("access is denied", _RIGHTS),
    errno.EIO: ("the disk reports an error", "check it, or use another place"),
    errno.ESTALE: ("the network disk has lost a file", "mount it again"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "close other programs"),
    errno.ENOMEM: ("the memory is full", "close other programs"),
}
_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed|exited)")
_MEMORY = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)
_WRITER = "PytorchStreamWriter failed writing file"  # torch's own writer knows no error number


def surroundings_error(error: BaseException) -> SurroundingsError | None:
    """Find out whether a fault of the machine is behind an error.

    Args:
        error: An error that ended a command.

    Returns:
        The fault in one sentence with its remedy, to be raised instead; None where the error or
        those that led to it are of another kind.
    """
    for link in _chain(error):
        if isinstance(link, SurroundingsError):
            return link
        told = _sentence(link)
        if told is not None:
            return SurroundingsError(told)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from or while handling, the latest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _sentence(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        what, remedy = _SYSTEM[error.errno]
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{what} ({error.strerror}); {remedy}."
    if isinstance(error, RuntimeError) and (worker := _WORKER.search(text)):
        return (
            f"the process {worker[1]} that loads images was killed, probably because the memory is "
            "full; give fewer data.num_workers or a smaller data.batch_size."
        )
    if isinstance(error, BrokenExecutor):
        return (
            "a process that renders images was killed, probably because the memory is full; give "
            "fewer data.reader.workers."
        )
    if isinstance(error, RuntimeError) and _WRITER in text:
        return f"a file could not be written to its end; the disk may be full: {_SPACE}."
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _MEMORY.search(text)):
        return (
            "the memory is full; give a smaller data.batch_size, data.eval_batch_size or "
            "batch_size, or smaller images."
        )
    return None
