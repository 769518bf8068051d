"""Signals that end a command."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from learned_saliency.errors import Stopped

_ENDING = (signal.SIGTERM, signal.SIGINT)


def end_on_signals() -> None:
    """Make SIGTERM and SIGINT end the command at once, by a `Stopped` in the main thread.

    So temporary files are removed and loggers closed as after an error. A second signal ends the
    process by the system's own means. Another thread than the main one changes nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    let_signals_kill()
    raise Stopped(number)


def let_signals_kill() -> None:
    """Give SIGTERM and SIGINT back to the system: the next one kills the process."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
