"""Handlers of signals that stay what the command has made them."""

from __future__ import annotations

import signal
import threading
from typing import Any

import lightning as L


class KeepSignals(L.Callback):
    """Puts the handler of SIGTERM back that was there before Lightning put its own before it.

    Lightning's handler waits for a broadcast of the first of several processes: one that is in the
    midst of a batch never answers. What ends a command ends the other processes by itself, too.
    """

    def __init__(self) -> None:
        self._handler: Any = None

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Note the handler."""
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_test_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Put the handler back."""
        self._put_back()

    def on_predict_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Put the handler back."""
        self._put_back()

    def _put_back(self) -> None:
        in_main = threading.current_thread() is threading.main_thread()
        if self._handler is not None and in_main:
            signal.signal(signal.SIGTERM, self._handler)
