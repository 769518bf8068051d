"""Guards around a reader: it ends soon, in a value or in one sentence, and changes nothing."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings

from learned_saliency.errors import MendableError

_BY_HAND = int(os.environ.get("FUZZ_EXAMPLES", "0"))
_MOST_SECONDS = 30  # a bound of hangs, not of slowness: many times what an example takes
_LONGEST = 2100  # characters of a message
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"),
    *("os.symlink", "os.truncate", "os.utime"),
    *("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile"),
    *("os.system", "pty.spawn", "socket.connect", "subprocess.Popen"),
}


class Outcome(NamedTuple):
    """Result of a reader.

    Attributes:
        value: What the reader gave; None where it refused the input.
        message: The sentence of the refusal; empty where there is none.
    """

    value: Any
    message: str


class _Hang(BaseException):
    """End of an example that takes too long; no ``Exception``, so that no reader mends it."""


class _Changes:
    """Record of what the process changed outside itself, as Python reports it, while watched."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.watching = self.installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of an event of Python's audit."""
        if not self.watching:
            return
        if event == "open":
            path, _, flags = arguments
            quiet = path == os.devnull or "__pycache__" in str(path)
            if isinstance(flags, int) and flags & _WRITES and not quiet:
                self.found.append(f"open {path!r}")
        elif event in _CHANGES and "__pycache__" not in str(arguments):
            self.found.append(f"{event} {arguments!r}")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take note of everything within the context, and of nothing outside it."""
        if not self.installed:
            sys.addaudithook(self)  # for the life of the process
            self.installed = True
        self.found, self.watching = [], True
        try:
            yield
        finally:
            self.watching = False


_CHANGES_SEEN = _Changes()


def budget(examples: int) -> settings:
    """Return settings with a number of examples, the same in each run, or ``FUZZ_EXAMPLES`` others.

    Nothing is stored, no example has a time limit that a busy machine could miss, and a failing one
    is shown as it is: to make it smaller would take minutes.
    """
    return settings(
        max_examples=_BY_HAND or examples,
        derandomize=not _BY_HAND,
        print_blob=bool(_BY_HAND),
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def outcome(
    call: Callable[[], Any],
    folder: Path,
    named: Sequence[str],
    refusals: type[Exception] = MendableError,
) -> Outcome:
    """Call a reader, which must give a value or refuse in one sentence.

    Args:
        call: The reader, with its input.
        folder: Folder in which no file may appear, vanish or change its size.
        named: Texts of which a refusal must have at least one; none are needed where this is empty.
        refusals: The errors that are refusals.

    Raises:
        AssertionError: If it does anything else: ends by another error, hangs, writes, starts a
            program, or refuses without a reason.
    """
    before = listing(folder)
    try:
        with _limited(), _CHANGES_SEEN.watched(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of numbers that are none
            found = Outcome(call(), "")
    except refusals as error:
        found = Outcome(None, str(error))
        _check_sentence(found.message, named)
    except _Hang:
        raise AssertionError(f"nothing came of it in {_MOST_SECONDS} s") from None
    assert not _CHANGES_SEEN.found, _CHANGES_SEEN.found
    assert listing(folder) == before
    return found


def listing(folder: Path) -> dict[str, int]:
    """List all files and folders below a folder, with their sizes."""
    return {path.as_posix(): path.lstat().st_size for path in sorted(folder.rglob("*"))}


def _check_sentence(message: str, named: Sequence[str]) -> None:
    assert message.strip(), "a refusal without a reason"
    assert "\n" not in message, message
    assert len(message) < _LONGEST, f"{len(message)} characters: {message[:200]}"
    assert "Traceback" not in message, message
    assert not named or any(name in message for name in named), message


@contextmanager
def _limited() -> Iterator[None]:
    """Raise `_Hang` in the main thread when the time is over."""

    def end(*_: object) -> None:
        raise _Hang

    previous = signal.signal(signal.SIGALRM, end)
    signal.alarm(_MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
