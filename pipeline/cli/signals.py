"""Signals that end a command."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from functools import cache
from types import FrameType

from learned_saliency.errors import Stopped

ENDING = (signal.SIGTERM, signal.SIGINT)
_SECONDS = 2.0  # in which one cause may send several signals: a terminal, a launcher, a parent
_PATIENCE = 10.0  # seconds in which the main thread has to react


def end_on_signals() -> None:
    """Make SIGTERM and SIGINT end the command at once, by a `Stopped` in the main thread.

    So temporary files are removed and loggers closed as after an error. A signal more than two
    seconds later kills the process by the system's own means. A main thread that does not come to
    Python for ten seconds, within one long call of a library, is ended by force. Another thread
    than the main one changes nothing. SIGUSR1, which would kill, is noted, see `was_warned`.
    """
    if _in_main_thread():
        signal.signal(signal.SIGUSR1, _note)
        for number in ENDING:
            signal.signal(number, _stop)
        end_on_signals.called = time.monotonic()
        signal.set_wakeup_fd(_guard(), warn_on_full_buffer=False)


end_on_signals.called = -1.0  # when a command last began to react: earlier signals were others'


def await_killing() -> None:
    """Let signals kill the process that come more than two seconds from now.

    A handler calls this when it reacts to a signal.
    """
    if not _in_main_thread():
        return
    began = await_killing.called = time.monotonic()

    def kill(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - began > _SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in ENDING:
        signal.signal(number, kill)


await_killing.called = -1.0  # when the main thread has last reacted to a signal


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def was_warned() -> bool:
    """Tell whether SIGUSR1 came while nothing else listened to it."""
    return bool(_warnings)


def _note(number: int, frame: FrameType | None) -> None:
    _warnings.append(number)


_warnings: list[int] = []


def _stop(number: int, frame: FrameType | None) -> None:
    await_killing()
    raise Stopped(number)


@cache
def _guard() -> int:
    """Start the thread that looks after signals; return the file that the system tells them to."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_look_after, args=(reader,), daemon=True, name="signals").start()
    return writer


def _look_after(reader: int) -> None:
    """End the process when the main thread has not seen a signal that should end it."""
    came = time.monotonic()
    while True:
        waited = bool(select.select([reader], [], [], 0)[0])
        numbers = os.read(reader, 64)
        if not waited:  # else they came while this thread slept: after the ones before
            came = time.monotonic()
        for number in set(numbers) & set(ENDING):
            time.sleep(_PATIENCE)
            unseen = await_killing.called < came - 1.0 and end_on_signals.called < came
            if unseen and signal.getsignal(number) is _stop:
                print(f"{Stopped(number)}, within a long call", file=sys.stderr, flush=True)
                os._exit(128 + number)
