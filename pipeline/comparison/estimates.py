"""Values and differences with what they would be on other images and of other trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.comparison.student import t_quantile
from learned_saliency.pipeline.reports import (
    Column,
    ImageScores,
    interval_ends,
    resampled,
    without_bias,
)


class Interval(NamedTuple):
    """Interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


class Trainings(NamedTuple):
    """Intervals of what trainings with other seeds would give, from S of them.

    Attributes:
        std: Sample standard deviation over the seeds; of a difference of trainings that are not
            paired, of the difference of a training of each.
        mean: Interval of the mean over all trainings, on these images, by Student's t.
        single: Interval of a single further training, on these images, by Student's t.
        images_too: Interval of the mean over all trainings and other images, by the bootstrap of
            seeds and images; of few seeds it is too narrow.
    """

    std: float
    mean: Interval
    single: Interval
    images_too: Interval


class Estimate(NamedTuple):
    """A metric or a difference of two.

    Attributes:
        value: Mean over the trainings.
        images: Interval over images: of these trainings on other images.
        trainings: What other trainings would give; None of a single one.
    """

    value: float
    images: Interval
    trainings: Trainings | None


class Values(NamedTuple):
    """M metrics of S trainings.

    Attributes:
        values: The metrics, (S, M).
        drawn: The metrics of R draws of images, (S, R, M).
        are_means: Whether each metric is a mean over images, bool (M,).
    """

    values: NDArray[np.float64]
    drawn: NDArray[np.float64]
    are_means: NDArray[np.bool_]

    def minus(self, other: Values) -> Values:
        """Subtract the metrics of trainings that are paired with these."""
        values, drawn = self.values - other.values, self.drawn - other.drawn
        return Values(values, drawn, self.are_means)

    def without_bias(self) -> Values:
        """Correct the draws of metrics that are no means; see `pipeline.reports.without_bias`."""
        corrected = without_bias(self.drawn, self.values)
        return self._replace(drawn=np.where(self.are_means, self.drawn, corrected))


def compute_values(
    members: Sequence[ImageScores], columns: Sequence[Column], resamples: int, seed: int
) -> Values:
    """Compute metrics of the same images in the same order by several trainings.

    Args:
        members: Scores of the N images by each training.
        columns: The metrics.
        resamples: Number of draws of images.
        seed: Seed of the draws: metrics of the same number of images have the same draws.
    """
    values, drawn = [], []
    for scores in members:
        names = scores.names()
        places = [names.index(column) for column in columns]
        values.append(scores.values(np.ones((1, len(scores.image_ids))))[0, places])
        drawn.append(resampled(scores, resamples, seed)[:, places])
    return Values(np.stack(values), np.stack(drawn), scores.are_means()[places])


def estimates(found: Values, level: float, seed: int) -> list[Estimate]:
    """Estimate each of M metrics, or of M differences of paired trainings."""
    picked = _picks(len(found.values), found.drawn.shape[1], seed)
    both = np.einsum("rs,srm->rm", picked, found.drawn)
    spread = _student(found.values, level) if len(found.values) > 1 else None
    return _estimates(found.values.mean(0), found.drawn.mean(0), both, spread, level)


def unpaired_estimates(found: Values, other: Values, level: float, seed: int) -> list[Estimate]:
    """Estimate the differences of metrics of trainings that are not paired.

    Images are paired. The trainings' part of the interval is Welch's, with its degrees of freedom
    rounded down.
    """
    draws = found.drawn.shape[1]
    parts = [
        np.einsum("rs,srm->rm", _picks(len(one.values), draws, seed + i), one.drawn)
        for i, one in enumerate((found, other))
    ]
    several = min(len(found.values), len(other.values)) > 1
    spread = _welch(found.values, other.values, level) if several else None
    value = found.values.mean(0) - other.values.mean(0)
    drawn = found.drawn.mean(0) - other.drawn.mean(0)
    return _estimates(value, drawn, parts[0] - parts[1], spread, level)


class _Spread(NamedTuple):
    """Standard deviations and half widths of the intervals by Student's t, (M,) each."""

    std: NDArray[np.float64]
    mean: NDArray[np.float64]
    single: NDArray[np.float64]


def _student(values: NDArray[np.float64], level: float) -> _Spread:
    count = len(values)
    quantile = t_quantile((1 + level) / 2, count - 1)
    std = values.std(0, ddof=1)
    return _Spread(std, quantile * std / count**0.5, quantile * std * (1 + 1 / count) ** 0.5)


def _welch(values: NDArray[np.float64], others: NDArray[np.float64], level: float) -> _Spread:
    parts = [(one.var(0, ddof=1), len(one)) for one in (values, others)]
    of_mean = sum(variance / count for variance, count in parts)
    with np.errstate(invalid="ignore", divide="ignore"):
        below = sum((variance / count) ** 2 / (count - 1) for variance, count in parts)
        freedom = np.where(below > 0, of_mean**2 / below, min(c for _, c in parts) - 1)
    quantiles = np.array([t_quantile((1 + level) / 2, max(1, math.floor(f))) for f in freedom])
    of_one = sum(variance for variance, _ in parts)
    return _Spread(of_one**0.5, quantiles * of_mean**0.5, quantiles * (of_mean + of_one) ** 0.5)


def _picks(count: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Draw how much each of S trainings weighs in each draw, (R, S)."""
    generator = np.random.default_rng([seed, count])
    return generator.multinomial(count, [1 / count] * count, size=draws) / count


def _estimates(
    value: NDArray[np.float64],
    drawn: NDArray[np.float64],
    both: NDArray[np.float64],
    spread: _Spread | None,
    level: float,
) -> list[Estimate]:
    images = list(_intervals(drawn, level))
    if spread is None:
        return [Estimate(float(v), ends, None) for v, ends in zip(value, images, strict=True)]
    further = zip(*spread, _intervals(both, level), strict=True)
    trainings = [
        Trainings(float(std), _around(v, mean), _around(v, single), ends)
        for v, (std, mean, single, ends) in zip(value, further, strict=True)
    ]
    return [Estimate(float(v), *rest) for v, *rest in zip(value, images, trainings, strict=True)]


def _around(value: float, half: float) -> Interval:
    return Interval(float(value - half), float(value + half))


def _intervals(drawn: NDArray[np.float64], level: float) -> Iterator[Interval]:
    for low, high in interval_ends(drawn, level).T:
        yield Interval(float(low), float(high))
