"""Tensors of a whole split, kept in memory."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor


def read_all(read: Callable[[int], Tensor], count: int) -> Tensor:
    """Stack the results of ``read`` for 0, 1, ... in one piece of memory, reading in threads."""
    first = read(0)
    stacked = first.new_empty((count, *first.shape))

    def store(index: int) -> None:
        stacked[index] = read(index) if index else first

    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        for _ in pool.map(store, range(count)):
            pass
    return stacked
