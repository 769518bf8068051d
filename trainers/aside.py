"""Work beside the network: scoring of one batch while the network explains the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_Settings = tuple[bool, bool, dict[str, tuple[bool, torch.dtype]]]


class Aside:
    """Runner of work in a second thread, piece after piece in the order of the calls.

    A thread shares the metrics with its caller and needs no copies; the heavy parts of scoring
    (searches of boxes, histograms, sums) leave Python's lock to the network meanwhile. Sums are
    added in the same order as without it, so that nothing changes to the last bit. A piece runs
    under PyTorch's settings where it was handed over: gradients, inference mode, autocast.

    After an error no further piece runs, and the caller gets the error by the next `wait` or
    `end`. Before `begin` and after `end` pieces run at once, in the caller. Copies are runners
    that have not begun.
    """

    def __init__(self) -> None:
        self._beside = False
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future[Any]] = []
        self._error: BaseException | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()

    def begin(self, beside: bool) -> None:
        """Begin a pass over a split; what an earlier one has left is finished first.

        Args:
            beside: Whether somebody calls `end` after the pass, as a trainer does. Otherwise
                pieces run at once.
        """
        self.settle()
        self._beside = beside

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Run a piece of work behind those before it.

        Args:
            work: The piece, a function without arguments.

        Returns:
            Its result, which may be waited for.
        """
        if not self._beside:
            done: Future[T] = Future()
            done.set_result(work())
            return done
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="aside")
        future = self._pool.submit(self._run, work, _settings())
        self._pending.append(future)
        return future

    def wait(self) -> None:
        """Wait for all pieces, so that those of one batch alone are in memory at a time.

        Raises:
            BaseException: The first error of a piece.
        """
        for future in self._pending:
            future.exception()
        self._pending.clear()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def end(self) -> None:
        """End a pass: wait for all pieces, and run further ones at once.

        Raises:
            BaseException: The first error of a piece.
        """
        try:
            self.wait()
        finally:
            self._beside = False
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def settle(self) -> None:
        """End a pass because of another error: the pieces that were handed over are finished."""
        with suppress(Exception):
            self.end()

    def _run(self, work: Callable[[], T], settings: _Settings) -> T:
        if self._error is not None:
            raise self._error
        try:
            with _set(settings):
                return work()
        except BaseException as error:
            self._error = error
            raise


class Deferred(Mapping[str, Any]):
    """Mapping that a piece of work makes; it is waited for when it is read.

    Args:
        made: The mappings to come.
        place: Place of this one among them.
    """

    def __init__(self, made: Future[tuple[Mapping[str, Any], ...]], place: int) -> None:
        self._made, self._place = made, place

    def __getitem__(self, key: str) -> Any:
        return self._made.result()[self._place][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made.result()[self._place])

    def __len__(self) -> int:
        return len(self._made.result()[self._place])

    def __repr__(self) -> str:
        return repr(dict(self))


def _settings() -> _Settings:
    """Read the settings of PyTorch that belong to a thread."""
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    autocast = {
        kind: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds
    }
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast


def _set(settings: _Settings) -> ExitStack:
    """Use settings until the returned context is left."""
    grad, inference, autocast = settings
    stack = ExitStack()
    stack.enter_context(torch.inference_mode(inference))
    stack.enter_context(torch.set_grad_enabled(grad))
    for kind, (enabled, dtype) in autocast.items():
        if enabled:
            stack.enter_context(torch.autocast(kind, dtype))
    return stack
