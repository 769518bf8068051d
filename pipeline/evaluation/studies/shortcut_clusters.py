"""Clusters of a class's maps for the study ``shortcuts``."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform

from learned_saliency.pipeline.evaluation.studies.shortcut_features import MapSet

MOST = 4  # clusters of a class
CLEAR = 0.4  # least silhouette of more than one cluster
SMALLEST = 3  # images of a cluster
APART = 1.0  # least distance of two clusters' centers
SAMPLE = 500  # images of a class that are clustered; the others join the nearest cluster

#: Features by which maps are clustered, each with the difference that counts as 1: a quarter of the
#: image's side, a quarter of its area, a color difference (CIE 1976) of 25.
UNITS = {"x": 0.25, "y": 0.25, "extent": 0.25, "L": 25.0, "a": 25.0, "b": 25.0}


def cluster_features(maps: MapSet) -> np.ndarray:
    """Return place, extent and color of N maps in the units of ``UNITS``, (N, 6)."""
    return np.stack([maps.column(name) / unit for name, unit in UNITS.items()], 1)


def clusters(features: np.ndarray) -> np.ndarray:
    """Part maps into clusters: Ward's, as many as have the largest mean silhouette.

    There is one cluster unless two to four have a mean silhouette of at least 0.4, three images
    each, and centers at least 1 apart. Of more than 500 maps, 500 at equal distances in their order
    are clustered, and each other map joins the cluster with the nearest center.

    Args:
        features: Shape (N, D), N at least 1.

    Returns:
        Number of each map's cluster, int64 (N,), from 0, the largest cluster first.
    """
    count = len(features)
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(int))
    sample = features[chosen]
    found = _best_parts(sample)
    centers = _centers(sample, found)
    nearest = ((features[:, None] - centers) ** 2).sum(2).argmin(1)
    nearest[chosen] = found
    order = np.argsort(-np.bincount(nearest, minlength=len(centers)), kind="stable")
    return np.argsort(order)[nearest]


def _best_parts(sample: np.ndarray) -> np.ndarray:
    """Cut Ward's tree where the mean silhouette is largest; zeros where none is clear enough."""
    found = np.zeros(len(sample), np.int64)
    if len(sample) < 2 * SMALLEST or not np.ptp(sample, axis=0).any():
        return found
    distances, tree, best = squareform(pdist(sample)), linkage(sample, "ward"), -1.0
    for number in range(2, MOST + 1):
        parts = fcluster(tree, number, "maxclust").astype(np.int64) - 1
        sizes = np.bincount(parts)
        if len(sizes) == number and sizes.min() >= SMALLEST and _apart(sample, parts) >= APART:
            value = silhouette(distances, parts)
            if value >= CLEAR and value > best:
                found, best = parts, value
    return found


def _centers(points: np.ndarray, parts: np.ndarray) -> np.ndarray:
    return np.stack([points[parts == part].mean(0) for part in range(parts.max() + 1)])


def _apart(points: np.ndarray, parts: np.ndarray) -> float:
    """Compute the least distance of two parts' centers."""
    return float(pdist(_centers(points, parts)).min())


def silhouette(distances: np.ndarray, parts: np.ndarray) -> float:
    """Compute the mean silhouette (Rousseeuw 1987); an image that is alone in its part has 0.

    Args:
        distances: Distances of all pairs, (N, N).
        parts: Part of each image, from 0, at least two parts, (N,).
    """
    one_hot = np.eye(parts.max() + 1)[parts]
    sizes = one_hot.sum(0)
    sums = distances @ one_hot
    rows = np.arange(len(parts))
    own = sums[rows, parts] / np.maximum(sizes[parts] - 1, 1)
    means = sums / sizes
    means[rows, parts] = np.inf
    other = means.min(1)
    greater = np.maximum(own, other)
    values = np.where(greater > 0, (other - own) / np.where(greater > 0, greater, 1), 0.0)
    return float(np.where(sizes[parts] > 1, values, 0.0).mean())
