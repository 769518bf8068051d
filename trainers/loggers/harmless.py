"""Base of dashboards whose failures never end a run."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from lightning.pytorch.utilities import rank_zero_only

from learned_saliency.trainers.loggers.dashboard import Dashboard

T = TypeVar("T")


class HarmlessDashboard(Dashboard):
    """Dashboard that tells once what its service cannot do, and lets the run go on.

    Args:
        options: Arguments of the next class.

    Attributes:
        service: Name of the service in warnings.
        lost: Whether the service could not start, so that nothing is logged.
    """

    service: ClassVar[str]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lost = False
        self._told: set[str] = set()  # what has failed and was told

    def started(self, start: Callable[[], T]) -> T | None:
        """Start the service and return what ``start`` returns; None where that fails."""
        try:
            return start()
        except Exception as error:  # the service's own, of the network, of the disk
            self.lost = True
            self.warn("start", error)
            return None

    def warn(self, what: str, error: Exception) -> None:
        """Tell once that the service could not do something."""
        if what in self._told:
            return
        self._told.add(what)
        lost = "this run has no dashboard" if self.lost else "the run goes on"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        warnings.warn(
            f"{self.service} could not {what.replace('_', ' ')} ({reason}); {lost}.", stacklevel=2
        )


def harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Let a method of a `HarmlessDashboard` warn where it fails; the first process calls it."""

    @rank_zero_only
    @functools.wraps(method)
    def call(self: HarmlessDashboard, *args: Any, **kwargs: Any) -> None:
        if self.lost:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # see `HarmlessDashboard.started`
            if not self.lost:  # else that was told
                self.warn(method.__name__, error)

    return call
