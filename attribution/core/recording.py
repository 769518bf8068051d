"""Recording of a computation as a graph, in which values cannot be looked at."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_recording = ContextVar("recording", default=False)


def is_recorded() -> bool:
    """Return whether a graph is being recorded, by ``torch.export`` or within `recording`.

    Shapes are known then, values are not, and a graph cannot raise: checks of values are left out.
    """
    return torch.compiler.is_exporting() or _recording.get()


@contextmanager
def recording() -> Iterator[None]:
    """Declare that what runs within is recorded as a graph by means that torch does not tell of."""
    token = _recording.set(True)
    try:
        yield
    finally:
        _recording.reset(token)
