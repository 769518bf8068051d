"""Work that a trainer does for predict.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import lightning as L


class Work(NamedTuple):
    """Work of a trainer, and the callback that writes its results.

    Attributes:
        module: Its ``predict_step`` explains a batch.
        batches: This process's batches.
        writer: Callback that writes what is found.
        close: Called at the end, however that comes.
    """

    module: L.LightningModule
    batches: Iterable[Any]
    writer: L.Callback
    close: Callable[[], None]
