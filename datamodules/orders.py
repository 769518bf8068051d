"""Orders of training images: any, or one that reads larger files nearly in one go."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LANES = 16  # files that are read side by side


def run_starts(containers: Sequence[str]) -> NDArray[np.int64]:
    """Find where runs of images of one file begin in a list.

    Args:
        containers: Names of the files of N images.

    Returns:
        int64 (R,), in ascending order; empty for no images.
    """
    starts = [i for i, name in enumerate(containers) if i == 0 or name != containers[i - 1]]
    return np.array(starts, np.int64)


def windowed_order(
    count: int, starts: NDArray[np.int64], window: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw an order of N images that reads each file nearly from its beginning to its end.

    The files come in random order. Their images, one file after the other, are dealt into 16 lanes
    of equal length, which take turns: position p of the order belongs to lane p modulo 16. Within a
    lane each image moves back by a random number of positions below the window. Processes of which
    there are a power of two up to 16, each taking every R-th image, thus read files of their own.

    Args:
        count: Number N of images.
        starts: Where the runs of images of one file begin, see `run_starts`.
        window: Window in images of the order, 1 or more; 1 mixes files alone.
        generator: Source of the random numbers.

    Returns:
        A permutation of 0 ... N - 1, int64 (N,).
    """
    ends = np.append(starts[1:], count)
    files = generator.permutation(len(starts))
    sequence = np.concatenate([np.arange(starts[i], ends[i]) for i in files])
    reach = max(window / LANES, 1.0)  # of a lane, in its own positions
    order, begin = np.empty(count, np.int64), 0
    for lane in range(LANES):
        places = np.arange(lane, count, LANES)
        own = sequence[begin : begin + len(places)]
        moved = np.arange(len(own)) + generator.uniform(0, reach, len(own))
        order[places] = own[np.argsort(moved, kind="stable")]
        begin += len(own)
    return order
