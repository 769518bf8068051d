"""Signals that end a command."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import cache
from types import FrameType

from learned_saliency.errors import Stopped

_ENDING = (signal.SIGTERM, signal.SIGINT)
_PATIENCE = 10.0  # seconds in which the main thread has to react


def end_on_signals() -> None:
    """Make SIGTERM and SIGINT end the command at once, by a `Stopped` in the main thread.

    So temporary files are removed and loggers closed as after an error. A second signal ends the
    process by the system's own means. A main thread that does not come to Python for ten seconds,
    within one long call of a library, is ended by force. Another thread than the main one changes
    nothing.
    """
    if _in_main_thread():
        for number in _ENDING:
            signal.signal(number, _stop)
        signal.set_wakeup_fd(_guard(), warn_on_full_buffer=False)


def let_signals_kill() -> None:
    """Give SIGTERM and SIGINT back to the system: the next one kills the process."""
    if _in_main_thread():
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _stop(number: int, frame: FrameType | None) -> None:
    _stop.arrived = time.monotonic()
    let_signals_kill()
    raise Stopped(number)


_stop.arrived = -1.0  # when the main thread has last seen a signal


@cache
def _guard() -> int:
    """Start the thread that looks after signals; return the file that the system tells them to."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_look_after, args=(reader,), daemon=True, name="signals").start()
    return writer


def _look_after(reader: int) -> None:
    """End the process when the main thread has not seen a signal that should end it."""
    while True:
        numbers = os.read(reader, 64)
        came = time.monotonic() - 1.0
        for number in set(numbers) & set(_ENDING):
            time.sleep(_PATIENCE)
            if signal.getsignal(number) is _stop and _stop.arrived < came:
                print(f"{Stopped(number)}, within a long call", file=sys.stderr, flush=True)
                os._exit(128 + number)
