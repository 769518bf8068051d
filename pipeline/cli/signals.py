"""Signals that end a command."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

from learned_saliency.errors import Stopped

ENDING = (signal.SIGTERM, signal.SIGINT)
_SECONDS = 2.0  # in which one cause may send several signals: a terminal, a launcher, a parent


def end_on_signals() -> None:
    """Make SIGTERM and SIGINT end the command at once, by a `Stopped` in the main thread.

    So temporary files are removed and loggers closed as after an error. A signal more than two
    seconds later kills the process by the system's own means. Another thread than the main one
    changes nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    await_killing()
    raise Stopped(number)


def await_killing() -> None:
    """Let signals kill the process that come more than two seconds from now."""
    began = time.monotonic()

    def kill(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - began > _SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in ENDING:
        signal.signal(number, kill)
