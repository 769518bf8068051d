"""Threads over the images of a batch, for compiled loops that release Python's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import torch


def over_images(work: Callable[[Iterator[int]], None], images: int) -> None:
    """Share the images of a batch out among `torch.get_num_threads` threads.

    Each thread takes the next image when it is done with the last. The calling thread is one of
    them, and none outlives the call, so that a process may be forked afterwards.

    Args:
        work: Called once per thread with the images' numbers; the same iterator for all.
        images: Number of images.
    """
    numbers = iter(range(images))  # Python's lock lets one thread at a time advance it
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work(numbers)
        except BaseException as error:  # raised again in the calling thread
            failures.append(error)

    helpers = [
        threading.Thread(target=run) for _ in range(min(torch.get_num_threads(), images) - 1)
    ]
    for helper in helpers:
        helper.start()
    run()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
