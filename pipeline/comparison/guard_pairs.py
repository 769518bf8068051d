"""Images that two evaluations have in common, with each map's share of mass on the object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.comparison.guard_statistics import LEAST
from learned_saliency.pipeline.reports import SavedEvaluation

#: Metrics that are shares of a map's mass on the object, the more exact truth first.
METRICS = ("relevance_mass_accuracy", "energy_pointing_game")
_NATIVE, _SPARSENESS = "native", "sparseness"
_Rows = Mapping[str, Mapping[str, str]]  # rows of a table of images by image


class Pairs(NamedTuple):
    """Shares of the mass of N pairs of maps on the object.

    Attributes:
        method: Name of the method whose maps they are.
        metric: One of ``METRICS``.
        image_ids: Names of the images, in the order of OLD.
        labels: True classes, int64 (N,); -1 where it is unknown.
        old: Shares of OLD in [0, 1], float64 (N,).
        new: Shares of NEW, likewise.
        left_out: Numbers of images that are not compared, by the reason.
        other_targets: Number of images for which the maps explain different classes.
        sparseness: Mean sparseness of OLD's maps and of NEW's; NaN where it is unknown.
    """

    method: str
    metric: str
    image_ids: list[str]
    labels: NDArray[np.int64]
    old: NDArray[np.float64]
    new: NDArray[np.float64]
    left_out: Mapping[str, int]
    other_targets: int
    sparseness: tuple[float, float]


def pair(old: SavedEvaluation, new: SavedEvaluation, method: str | None, metric: str) -> Pairs:
    """Match the images of two evaluations by their names.

    Args:
        old: Evaluation of the network so far.
        new: Evaluation of the one that may take its place.
        method: Name of a method that both have; None for ``native``, else the first common one.
        metric: One of ``METRICS``, or ``auto`` for the first that both have.

    Raises:
        UserError: If they are of different splits or truths, explain different classes on purpose,
            have no such method or metric, or too few images in common.
    """
    _check_alike(old, new)
    method = _common_method(old, new, method)
    rows = [_rows_of(saved, method) for saved in (old, new)]
    metric = _common_metric(rows, metric, method)
    shared = [image for image in rows[0] if image in rows[1]]
    _check_labels(shared, *rows)
    found = [image for image in shared if all(table[image].get(metric) for table in rows)]
    if len(found) < LEAST:
        raise UserError(
            f"{old.path} and {new.path}: have {len(found)} images with {metric} in common, of at "
            f"least {LEAST} that a verdict needs; evaluate both on the same images."
        )
    shares = [np.array([float(table[image][metric]) for image in found]) for table in rows]
    left_out = {
        "only in OLD": len(rows[0]) - len(shared),
        "only in NEW": len(rows[1]) - len(shared),
        "without an object of the truth": len(shared) - len(found),
    }
    other = sum(rows[0][image].get("target") != rows[1][image].get("target") for image in found)
    labels = np.array([int(rows[0][image]["label"]) for image in found], dtype=np.int64)
    old_sparseness, new_sparseness = (_mean_sparseness(table, found) for table in rows)
    sparseness = (old_sparseness, new_sparseness)
    return Pairs(method, metric, found, labels, *shares, left_out, other, sparseness)


def _mean_sparseness(rows: _Rows, images: Sequence[str]) -> float:
    known = [float(rows[image][_SPARSENESS]) for image in images if rows[image].get(_SPARSENESS)]
    return float(np.mean(known)) if known else math.nan


def _check_alike(old: SavedEvaluation, new: SavedEvaluation) -> None:
    if old.split != new.split:
        raise UserError(
            f"{old.path} is of the split {old.split} and {new.path} of {new.split}; evaluate both "
            "on the same split."
        )
    explained = [saved.record.get("explained") for saved in (old, new)]
    if None not in explained and explained[0] != explained[1]:
        raise UserError(
            f"{old.path} explains the class '{explained[0]}' and {new.path} '{explained[1]}'; give "
            "both the same evaluate.explained."
        )


def _methods(saved: SavedEvaluation) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in saved.rows))


def _common_method(old: SavedEvaluation, new: SavedEvaluation, asked: str | None) -> str:
    known = [_methods(saved) for saved in (old, new)]
    common = [name for name in known[0] if name in known[1]]
    if asked is None:
        if not common:
            raise UserError(
                f"{old.path} and {new.path}: have no method in common, but "
                f"{', '.join(known[0])} and {', '.join(known[1])}; evaluate both with the same "
                "methods=[...]."
            )
        return _NATIVE if _NATIVE in common else common[0]
    for saved, names in zip((old, new), known, strict=True):
        if asked not in names:
            raise UserError(
                f"method={asked}: {saved.path} has no maps of it; it has {', '.join(names)}."
            )
    return asked


def _rows_of(saved: SavedEvaluation, method: str) -> dict[str, dict[str, str]]:
    return {row["image_id"]: row for row in saved.rows if row["method"] == method}


def _common_metric(rows: Sequence[_Rows], asked: str, method: str) -> str:
    wanted = METRICS if asked == "auto" else (asked,)
    for metric in wanted:
        if all(any(row.get(metric) for row in table.values()) for table in rows):
            return metric
    remedy = "evaluate on a split with boxes or masks"
    raise UserError(
        f"metric={asked}: not both have {' or '.join(wanted)} of {method}'s maps; {remedy}."
    )


def _check_labels(shared: Sequence[str], old: _Rows, new: _Rows) -> None:
    other = [image for image in shared if old[image]["label"] != new[image]["label"]]
    if other:
        raise UserError(
            f"{len(other)} of {len(shared)} images have other labels in NEW than in OLD, "
            f"{other[0]} first; the truth of both must be the same."
        )
