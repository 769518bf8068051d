"""Lines of progress on stderr."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

_SECONDS = 10.0  # between lines where there is no terminal
_BLINK = 0.2  # seconds between states of the line of a terminal


class Progress:
    """Line that tells how much of a work is done and how long the rest will take.

    On a terminal one line changes; elsewhere a line is printed now and then.

    Args:
        what: What is counted, ``"files"``.
        total: How many there are.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._began = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def advance(self, count: int) -> None:
        """Count so many as done."""
        self._done += count
        now = time.monotonic()
        if now - self._last < (_BLINK if self._terminal else _SECONDS):
            return
        self._last = now
        left = (now - self._began) / self._done * (self._total - self._done)
        line = (
            f"data: {self._done:,} of {self._total:,} {self._what}, "
            f"{timedelta(seconds=round(left))} left"
        )
        if self._terminal:
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
        self._shown = True

    def close(self) -> None:
        """Wipe the line of a terminal out."""
        if self._terminal and self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
