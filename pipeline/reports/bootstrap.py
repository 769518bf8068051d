"""Bootstrap intervals of an evaluation's metrics, from its table of images."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.storage import write_csv

_RESAMPLES = 2000
_LEVEL = 0.95
_CHUNK = 2**24  # numbers of a part of the resamples that are in memory at once
_OTHERS = frozenset(
    ("image_id", "method", "label", "predicted", "target", "score", "x0", "y0", "x1", "y1")
)


class Interval(NamedTuple):
    """Mean over images with its bootstrap interval.

    Attributes:
        mean: Mean of the images' terms.
        low: Lower end of the interval.
        high: Upper end of the interval.
        images: Number of images that have a term.
    """

    mean: float
    low: float
    high: float
    images: int


def bootstrap_interval(
    terms: NDArray[np.float64], resamples: int = _RESAMPLES, level: float = _LEVEL, seed: int = 0
) -> NDArray[np.float64]:
    """Compute percentile bootstrap intervals of means over images (Efron, 1979).

    All columns are resampled by the same draws of images, so that the intervals of two methods on
    the same images belong together.

    Args:
        terms: Terms of N images, shape (N, K); a NaN is no term of that image.
        resamples: Number of draws of N images with replacement, at least 1.
        level: Share of the resampled means within the interval, in (0, 1).
        seed: Seed of the draws.

    Returns:
        Lower and upper ends, shape (2, K); NaN for a column without any term.

    Raises:
        ValueError: If ``terms`` is not (N, K) with N of at least 1, or an option is out of range.
    """
    if terms.ndim != 2 or not len(terms):
        raise ValueError(f"expected terms (N, K) of at least one image, got {terms.shape}")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"expected resamples >= 1 and level in (0, 1), got {resamples}, {level}")
    generator = np.random.default_rng(seed)
    known = ~np.isnan(terms)
    values = np.where(known, terms, 0.0)
    shares = np.full(len(terms), 1 / len(terms))
    means = []
    step = max(1, _CHUNK // len(terms))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.multinomial(len(terms), shares, size=count).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means.append((drawn @ values) / (drawn @ known))
    tail = 50 * (1 - level)
    ends = np.full((2, terms.shape[1]), np.nan)
    found = known.any(0)
    ends[:, found] = np.nanpercentile(np.concatenate(means)[:, found], [tail, 100 - tail], axis=0)
    return ends


def read_terms(path: Path) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Read the terms of all methods out of an ``images.csv``.

    Returns:
        Method and metric of each column, and the terms (N, K), images in the table's order; NaN
        where an image has none.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    metrics = [name for name in (rows[0] if rows else {}) if name not in _OTHERS]
    places = {
        image: place for place, image in enumerate(dict.fromkeys(r["image_id"] for r in rows))
    }
    methods = list(dict.fromkeys(row["method"] for row in rows))
    columns = [(method, metric) for method in methods for metric in metrics]
    found = {column: place for place, column in enumerate(columns)}
    terms = np.full((len(places), len(columns)), np.nan)
    for row in rows:
        for metric in metrics:
            if row[metric]:
                column = found[row["method"], metric]
                terms[places[row["image_id"]], column] = float(row[metric])
    return columns, terms


def intervals(path: Path, seed: int = 0) -> Mapping[tuple[str, str], Interval]:
    """Compute the mean of each column of an ``images.csv`` with its interval of 95 %.

    Args:
        path: The table.
        seed: Seed of the resampling.

    Returns:
        Intervals by method and metric; metrics of no image are left out.
    """
    columns, terms = read_terms(path)
    if not columns or not len(terms):
        return {}
    ends = bootstrap_interval(terms, seed=seed)
    counts = (~np.isnan(terms)).sum(0)
    return {
        column: Interval(float(np.nanmean(terms[:, k])), *map(float, ends[:, k]), int(counts[k]))
        for k, column in enumerate(columns)
        if counts[k]
    }


def write_intervals(table: Path, path: Path, seed: int = 0) -> Path:
    """Write the intervals of an ``images.csv`` as CSV, one row per method and metric."""
    rows = (
        {"method": method, "metric": metric}
        | {"mean": f"{found.mean:.6g}", "low": f"{found.low:.6g}", "high": f"{found.high:.6g}"}
        | {"images": found.images}
        for (method, metric), found in intervals(table, seed).items()
    )
    write_csv(path, ["method", "metric", "mean", "low", "high", "images"], rows)
    return path
