"""Tests of whether the mean of paired differences lies below a bound, for small and skewed samples.

The differences of images are no normal variables: many are small and some large. Student's test is
then too ready to reject in one direction. Hall's transformation corrects it for the skewness
(Hall, 1992, "On the removal of skewness by transformation", J. R. Stat. Soc. B 54), but is itself
too ready on heavy tails; so the larger of the two p-values counts. Both are formulas: a verdict
depends on no seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Fewest differences that are judged.
LEAST = 5
_STEPS = 80  # halvings of the interval in which a quantile is looked for


class Sample(NamedTuple):
    """Statistics of differences from which tests follow.

    Attributes:
        number: How many there are.
        mean: Their mean.
        deviation: Their standard deviation.
        skewness: Their skewness, 0 where they are all the same.
    """

    number: int
    mean: float
    deviation: float
    skewness: float


def sample(differences: NDArray[np.float64], least_deviation: float = 0.0) -> Sample:
    """Summarize differences.

    Args:
        differences: Differences in [-1, 1], shape (N,), N at least 2.
        least_deviation: Standard deviation that is assumed at least, for a few differences that
            happen to lie close together.

    Raises:
        ValueError: If there are fewer than 2, or some are no numbers.
    """
    if differences.ndim != 1 or len(differences) < 2 or not np.isfinite(differences).all():
        raise ValueError(f"expected at least 2 finite numbers, got shape {differences.shape}")
    mean = float(differences.mean())
    centered = differences - mean
    spread = float(np.sqrt((centered**2).mean()))
    known = spread > 1e-12
    skewness = float(((centered / spread) ** 3).mean()) if known else 0.0
    deviation = float(differences.std(ddof=1)) if known else 0.0
    return Sample(len(differences), mean, max(deviation, least_deviation), skewness)


def p_below(found: Sample, bound: float) -> float:
    """Test the hypothesis that the true mean is at least ``bound``.

    Returns:
        The p-value: small where the mean is below the bound for certain.
    """
    if found.deviation == 0:
        return 0.0 if found.mean < bound else 1.0
    n = found.number
    t = math.sqrt(n) * (found.mean - bound) / found.deviation
    lean = found.skewness / math.sqrt(n)
    straightened = t + lean * t**2 / 3 + lean**2 * t**3 / 27 + lean / 6
    return max(student(t, n - 1), student(straightened, n - 1))


def interval(found: Sample, level: float) -> tuple[float, float]:
    """Compute the two-sided interval of the true mean whose ends `p_below` just rejects.

    Args:
        found: Statistics of the differences, which lie in [-1, 1].
        level: Its confidence, in (0, 1).
    """
    tail = (1 - level) / 2
    mirrored = found._replace(mean=-found.mean, skewness=-found.skewness)
    return -_upper(mirrored, tail), _upper(found, tail)


def student_interval(found: Sample, level: float) -> tuple[float, float]:
    """Compute Student's two-sided interval of the true mean, cut at -1 and 1.

    `interval` is of no use at high confidence with few differences: for ten that are skewed, the
    quantile lies on the flat part of Hall's cube, and the interval reaches beyond all of them.

    Args:
        found: Statistics of the differences, which lie in [-1, 1].
        level: Its confidence, in (0, 1).
    """
    quantile = -_quantile((1 - level) / 2, found.number - 1)
    half = quantile * found.deviation / math.sqrt(found.number)
    return max(-1.0, found.mean - half), min(1.0, found.mean + half)


def _upper(found: Sample, tail: float) -> float:
    """Solve ``p_below(found, bound) == tail`` for the bound, at most 1."""
    root = math.sqrt(found.number)
    quantile = _quantile(tail, found.number - 1)
    lean = found.skewness / root
    straight = quantile
    if abs(lean) > 1e-9:  # the transformation is a cube: lean t / 3 + 1 is its root
        straight = 3 * (float(np.cbrt(1 + lean * (quantile - lean / 6))) - 1) / lean
    return min(1.0, found.mean - min(quantile, straight) * found.deviation / root)


@cache
def _quantile(tail: float, freedom: int) -> float:
    """Find the t below which Student's t lies with the probability ``tail``."""
    low, high = -1e6, 1e6
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if student(middle, freedom) < tail:
            low = middle
        else:
            high = middle
    return low


def student(t: float, freedom: int) -> float:
    """Compute the probability that Student's t is at most ``t``.

    The sums for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Args:
        t: The value.
        freedom: Degrees of freedom, at least 1.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    first = np.arange(1 + odd, freedom - 1, 2)  # each term follows from the one before
    terms = np.cumprod(np.concatenate([[1.0], first / (first + 1) * cosine**2]))
    if odd:
        inner = sine * cosine * terms.sum() if freedom > 1 else 0.0
        within = 2 / math.pi * (angle + inner)
    else:
        within = sine * terms.sum()
    return float(np.clip((1 + within) / 2, 0.0, 1.0))


def pooled_deviation(groups: Sequence[NDArray[np.float64]]) -> float:
    """Compute the standard deviation within groups of differences; 0 without two in any group."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return math.sqrt(squares / freedom) if freedom else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that all hypotheses together are rejected wrongly at most at the level.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = largest
    return adjusted
