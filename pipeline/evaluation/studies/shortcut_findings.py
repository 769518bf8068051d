"""Findings of the study ``shortcuts``: the classes with the clusters of their maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from learned_saliency.pipeline.evaluation.studies.shortcut_clusters import (
    cluster_features,
    clusters,
)
from learned_saliency.pipeline.evaluation.studies.shortcut_features import COLUMNS, MapSet
from learned_saliency.pipeline.evaluation.studies.shortcut_tests import (
    PLACES,
    ClassTest,
    ObjectLevels,
    Rule,
    compare_classes,
)

NOWHERE = "no place of its own"


class Cluster(NamedTuple):
    """Maps of a class that look alike.

    Attributes:
        images: Places of its images in the split, the most typical first, int64 (N,).
        share: Its share of the class's maps that are not flat.
        place: Cell of the grid with the greatest excess over the other classes, in words, or
            ``NOWHERE`` where the excess is below the rule's.
        in_place: Whether it has the rule's excess in the place of its class.
        means: Means of the features by name; NaN without truth.
        level: Share on the object of other classes' images with objects of like area.
        off_object: Whether it lies off the object as the rule says; None without truth.
        grid: Mean share of evidence in each of ``PLACES``, (9,).
        evidence: Mean evidence on the coarse grid, (16, 16).
    """

    images: np.ndarray
    share: float
    place: str
    in_place: bool
    means: Mapping[str, float]
    level: float
    off_object: bool | None
    grid: np.ndarray
    evidence: np.ndarray


class ClassFinding(NamedTuple):
    """Finding about one class.

    Attributes:
        test: Its comparison with the other classes.
        clusters: Its clusters, the largest first; none if all its maps are flat.
        of_others: Mean share of the other classes' evidence in each of ``PLACES``, (9,).
    """

    test: ClassTest
    clusters: list[Cluster]
    of_others: np.ndarray


Findings = Mapping[str, Mapping[int, ClassFinding]]  # by method and number of the class


def find_shortcuts(maps: MapSet, rule: Rule, seed: int) -> dict[int, ClassFinding]:
    """Compare the classes of one method and part each into clusters.

    Args:
        maps: The maps.
        rule: The rule.
        seed: Seed of the permutations.

    Returns:
        The finding about each class that has an image, by its number.
    """
    tests = compare_classes(maps, rule, seed)
    shown = maps.rows((maps.classes >= 0) & ~maps.flat)
    levels = ObjectLevels(shown)
    found = {}
    for label, test in tests.items():
        members = shown.classes == label
        own, others = shown.rows(members), shown.rows(~members)
        of_others = others.grid.mean(0) if len(others.index) else np.ones(len(PLACES))
        about = own, levels.of(members)[members], of_others, test.place
        parts = clusters(cluster_features(own)) if test.images else np.zeros(0, int)
        groups = [np.flatnonzero(parts == part) for part in range(parts.max(initial=-1) + 1)]
        parted = [_cluster(*about, at, rule) for at in groups]
        found[label] = ClassFinding(test, parted, of_others)
    return found


def _cluster(
    maps: MapSet, levels: np.ndarray, of_others: np.ndarray, place: int, at: np.ndarray, rule: Rule
) -> Cluster:
    """Describe some maps of a class.

    Args:
        maps: The maps of the class, (N,).
        levels: Share on the object of other classes' images with objects of like area, (N,).
        of_others: Mean grid of the other classes, (9,).
        place: Place of the class.
        at: The cluster's places among the maps.
        rule: The rule.
    """
    own = maps.rows(at)
    features = cluster_features(own)
    distance = ((features - features.mean(0)) ** 2).sum(1)
    mean_grid = own.grid.mean(0)
    more = mean_grid - of_others
    where = PLACES[int(more.argmax())] if more.max() >= rule.excess else NOWHERE
    means = {name: _mean(own.column(name)) for name in COLUMNS}
    here = np.isfinite(levels[at])
    level, off_object = math.nan, None
    if here.any():
        level = float(levels[at][here].mean())
        off_object = bool(own.column("on_object")[here].mean() <= rule.ratio * level)
    return Cluster(
        images=own.index[np.argsort(distance, kind="stable")],
        share=len(at) / len(maps.index),
        place=where,
        in_place=bool(more[place] >= rule.excess),
        means=means,
        level=level,
        off_object=off_object,
        grid=mean_grid,
        evidence=own.coarse.mean(0, dtype=float),
    )


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else math.nan


def accused(finding: ClassFinding) -> list[Cluster]:
    """List the clusters for which a flagged class is flagged: one or more of its clusters.

    These are, where there is truth, the clusters off the object, else those in the class's place.
    """
    test = finding.test
    if not test.flagged:
        return []
    if test.off_object is not None:
        return [cluster for cluster in finding.clusters if cluster.off_object]
    return [cluster for cluster in finding.clusters if cluster.in_place]


def flagged(findings: Mapping[int, ClassFinding]) -> list[int]:
    """List the flagged classes of a method."""
    return [label for label, finding in findings.items() if finding.test.flagged]
