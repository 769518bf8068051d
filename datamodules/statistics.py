"""Mean and standard deviation of the channels of training images."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.datamodules.textfile import DataError

MOST_MEASURED = 5000  # images; of more, as many are drawn
_DIGITS = 8  # that are kept, so that the last bits of a processor's sums do not count
_BLOCK = 256  # images that are in memory at a time
_LEAST = 1e-12  # what rounding leaves is less; one pixel of 1e9 off by a 16-bit level gives 5e-10


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each channel, 1 from black to white.

    Attributes:
        mean: C numbers.
        std: C numbers above 0.
        images: Number of images that were measured.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int


def measure_channels(
    read: Callable[[int], Tensor], count: int, seed: int, most: int = MOST_MEASURED
) -> ChannelStatistics:
    """Measure the channels of images in one pass.

    Each image counts alike. Sums are of double precision and in the order of the images, and the
    result is rounded to 8 digits: every process of every machine finds the same.

    Args:
        read: Gives the image of an index, (C, H, W) in 0..255, all of one size.
        count: Number N of images, 1 or more.
        seed: Seed of the draw of images where there are more than ``most``.
        most: Largest number of images to measure.

    Raises:
        DataError: If a channel has the same value everywhere, which leaves nothing to learn.
    """
    chosen: Sequence[int] = range(count)
    if count > most:
        drawn = np.random.default_rng(seed).choice(count, most, replace=False)
        chosen = np.sort(drawn).tolist()
    mean = spread = np.zeros(1)
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(chosen), _BLOCK):
            moments = pool.map(lambda index: _moments(read(index)), chosen[start : start + _BLOCK])
            for done, (own, square) in enumerate(moments, start):
                away = own - mean
                mean = mean + away / (done + 1)
                spread = spread + (square + away * away * done / (done + 1) - spread) / (done + 1)
    std = np.sqrt(spread)
    if constant := np.flatnonzero(std < _LEAST).tolist():
        raise DataError(
            f"data.std: channel {constant[0]} has the value {255 * mean[constant[0]]:g} of 255 in "
            "all pixels of the training images; leave it out of the files, or give data.mean and "
            "data.std."
        )
    return ChannelStatistics(_rounded(mean), _rounded(std), len(chosen))


def _moments(image: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute mean and variance of an image's channels, (C,) each."""
    values = image.numpy().astype(np.float64).reshape(len(image), -1) / 255
    return values.mean(1), values.var(1)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)
