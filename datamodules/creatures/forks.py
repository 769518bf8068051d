"""Work in several processes without start-up time: forks of the current process."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from types import FrameType
from typing import Any

_CHUNK = 16  # calls handed to a process at once
_PATIENCE = 5.0  # seconds from a signal to the end of a process

_work: Callable[[int], Any]  # the work of a forked process


def fork_map(work: Callable[[int], Any], count: int, workers: int) -> list[Any]:
    """Call ``work`` with 0 to ``count`` - 1, in forked processes where that is safe (Linux).

    This suits work that holds Python's lock, for which threads would queue. Neither ``work`` nor
    the objects that it refers to are pickled, but its results and errors are. An error in one call
    cancels the other calls and is raised here; the processes end with this process, however it
    ends.

    Args:
        work: Function to call; must use neither CUDA nor a library's own threads.
        count: Number of calls.
        workers: Number of processes; with 1, or for a few calls, this process does everything.

    Returns:
        The results in order.
    """
    workers = min(workers, -(-count // _CHUNK))
    if workers <= 1 or sys.platform != "linux":
        return [work(number) for number in range(count)]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, initializer=_adopt, initargs=(work,)) as pool:
        return list(pool.map(_call, range(count), chunksize=_CHUNK))


def _adopt(work: Callable[[int], Any]) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the parent to handle, which cancels the rest
    signal.signal(signal.SIGTERM, _end_soon)  # not by the parent's handler, which raises an error
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_soon(number: int, frame: FrameType | None) -> None:
    """End in some seconds, unless the parent, which mostly gets the signal too, does it before.

    An error raised here would pass for one of the work, or leave the queue of all processes locked.
    """
    timer = threading.Timer(_PATIENCE, os._exit, (128 + number,))
    timer.daemon = True
    timer.start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _call(number: int) -> Any:
    return _work(number)
