"""Verdict on whether evidence moved off the objects, overall and by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.comparison.guard_statistics import (
    LEAST,
    Sample,
    holm,
    interval,
    p_below,
    pooled_deviation,
    sample,
)


class Limits(NamedTuple):
    """Limits by which two networks are judged.

    Attributes:
        tolerance: Loss of the mean share on the objects over all images that is allowed, in [0, 1).
        class_tolerance: Loss of the mean of one class that is allowed, likewise.
        level: Confidence of the whole verdict, in (0, 1).
        per_class: Whether classes are judged, too.
    """

    tolerance: float
    class_tolerance: float
    level: float
    per_class: bool


class Finding(NamedTuple):
    """Paired change of the share of mass on the object, over all images or those of a class.

    Attributes:
        label: The class; None for all images.
        images: Number of images.
        old: Mean share of OLD.
        new: Mean share of NEW.
        change: Their difference, negative where evidence left the objects.
        low: Lower end of the interval of the change, for this finding alone.
        high: Upper end.
        p_value: Probability of such a loss where the true one is within the tolerance, adjusted for
            all that is judged.
        moved: Whether the loss is beyond the tolerance for certain.
    """

    label: int | None
    images: int
    old: float
    new: float
    change: float
    low: float
    high: float
    p_value: float
    moved: bool


class Verdict(NamedTuple):
    """Findings of a guard.

    Attributes:
        overall: All images together.
        classes: Judged classes, those which lost most first.
        too_few: Numbers of images of the classes that have too few to be judged, by class.
    """

    overall: Finding
    classes: list[Finding]
    too_few: dict[int, int]

    @property
    def moved(self) -> list[Finding]:
        """Findings that raise the alarm."""
        return [found for found in (self.overall, *self.classes) if found.moved]


def judge(
    old: NDArray[np.float64],
    new: NDArray[np.float64],
    labels: NDArray[np.int64],
    limits: Limits,
) -> Verdict:
    """Judge whether evidence moved off the objects by more than is allowed.

    All images together keep half of the probability of a false alarm, so that their alarm is the
    two-sided interval of the change that lies beyond the tolerance as a whole; the classes share
    the other half by Holm's rule. A class is taken to vary at least as much as all images do within
    their classes: a few images may lie close together by chance.

    Args:
        old: Shares of OLD in [0, 1], shape (N,), N at least ``LEAST``.
        new: Shares of NEW on the same images, likewise.
        labels: Classes (N,); those below 0 are none.
        limits: Limits of what is allowed.

    Raises:
        ValueError: If shapes differ or there are too few images.
    """
    if not old.shape == new.shape == labels.shape or len(old) < LEAST:
        raise ValueError(f"expected {LEAST} pairs or more, got {old.shape}, {new.shape}")
    change = new - old
    everything = sample(change)
    p_value = min(1.0, 2 * p_below(everything, -limits.tolerance))
    overall = _finding(None, everything, (old.mean(), new.mean()), p_value, limits)
    found = [int(label) for label in np.unique(labels[labels >= 0])] if limits.per_class else []
    groups = {label: labels == label for label in found} if len(found) > 1 else {}
    judged = {label: group for label, group in groups.items() if group.sum() >= LEAST}
    least = pooled_deviation([change[group] for group in groups.values()])
    samples = [sample(change[group], least) for group in judged.values()]
    p_values = holm([p_below(each, -limits.class_tolerance) for each in samples])
    classes = [
        _finding(label, each, (old[group].mean(), new[group].mean()), min(1.0, 2 * p), limits)
        for (label, group), each, p in zip(judged.items(), samples, p_values, strict=True)
    ]
    too_few = {label: int(group.sum()) for label, group in groups.items() if label not in judged}
    return Verdict(overall, sorted(classes, key=lambda each: each.change), too_few)


def _finding(
    label: int | None, found: Sample, means: Sequence[float], p_value: float, limits: Limits
) -> Finding:
    low, high = interval(found, limits.level)
    old, new = (float(mean) for mean in means)
    moved = p_value <= 1 - limits.level
    return Finding(label, found.number, old, new, found.mean, low, high, p_value, moved)
