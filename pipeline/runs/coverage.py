"""Thresholds of a promised coverage, from the sums that a checkpoint keeps of its ``val``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from learned_saliency.metrics import (
    FORMS,
    TRUTHS,
    CalibrationSums,
    calibrated_threshold,
    empty_sums,
    images_needed,
)
from learned_saliency.pipeline.cli import UserError

_TOLD = (0.5, 0.8, 0.9, 0.95, 0.99)  # levels in the facts of a checkpoint


class Coverage(NamedTuple):
    """Promise of a region, as it was calibrated.

    Attributes:
        level: Share that is covered, in (0, 1).
        of: What the level is a share of: ``"object"`` for images whose whole object lies inside,
            ``"pixels"`` for the object's pixels, on average over images.
        truth: How the objects of ``val`` were known: by ``"masks"``, for regions of pixels, or by
            ``"boxes"``, for regions that are boxes.
        threshold: Least value inside the region of the native map, smoothed at the network's input
            size, see `metrics.region`.
        images: Number of images of ``val`` that it was calibrated on.
    """

    level: float
    of: str
    truth: str
    threshold: float
    images: int


def find_coverage(sums: CalibrationSums, level: float, of: str) -> Coverage:
    """Find the threshold of a level, by masks where ``val`` had them and by boxes otherwise.

    Args:
        sums: Losses of the images of ``val``.
        level: Share to cover, in (0, 1).
        of: What it is a share of, ``"object"`` or ``"pixels"``.

    Raises:
        UserError: If no region keeps that promise; one sentence says why.
    """
    counts = [int(count) for count in sums.images]
    truth = next((index for index, count in enumerate(counts) if count > 0), None)
    if truth is None:
        raise UserError(
            f"coverage={level}: none, as the run had neither boxes nor masks on `val` to calibrate "
            "a region by."
        )
    count, needed = counts[truth], images_needed(level)
    if count < needed:
        raise UserError(
            f"coverage={level}: none, as it takes {needed} images with an object on `val` and the "
            f"run had {count}; ask for less, or train with a larger `val`."
        )
    threshold = calibrated_threshold(sums.losses[truth, FORMS.index(of)], count, level)
    if threshold is None:
        raise UserError(
            f"coverage={level}: none short of the whole image, as on too many of the {count} "
            "images of `val` the map is lowest on a part of the object; ask for less."
        )
    return Coverage(level, of, TRUTHS[truth], threshold, count)


def coverage_facts(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Collect the thresholds of usual levels, ready for JSON.

    Args:
        state: Weights and buffers of a checkpoint.

    Returns:
        ``truth`` and ``images``, see `Coverage`, and for ``object`` and ``pixels`` the thresholds
        by level, null where there is none; None without calibration.
    """
    expected = empty_sums()
    found = CalibrationSums(*(state.get(f"coverage.{name}") for name in expected._fields))
    if any(
        value is None or value.shape != wanted.shape or value.dtype != wanted.dtype
        for value, wanted in zip(found, expected, strict=True)
    ):
        return None
    truth = next((index for index, count in enumerate(found.images) if count > 0), None)
    if truth is None:
        return None
    count = int(found.images[truth])
    thresholds = {
        form: {
            str(level): calibrated_threshold(found.losses[truth, index], count, level)
            for level in _TOLD
        }
        for index, form in enumerate(FORMS)
    }
    return {"truth": TRUTHS[truth], "images": count, **thresholds}
