"""Quantiles of Student's t distribution."""

from __future__ import annotations

import math


def t_quantile(probability: float, freedom: int) -> float:
    """Compute a quantile of Student's t distribution.

    Args:
        probability: Probability of values up to the quantile, in (0, 1).
        freedom: Degrees of freedom, an integer of at least 1.

    Raises:
        ValueError: If an argument is out of range.
    """
    if not 0 < probability < 1 or freedom < 1:
        raise ValueError(
            f"expected probability in (0, 1) and freedom >= 1, got {probability}, {freedom}"
        )
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    inside = 2 * probability - 1  # probability of [-t, t]
    low, high = 0.0, 1.0
    while _within(high, freedom) < inside:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < inside else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Compute the probability of [-t, t] (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):  # freedom // 2 terms, each the last times a fraction
        total += term
        term *= cosine * cosine * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
