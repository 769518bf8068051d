"""Bootstrap intervals of an evaluation's metrics, from its table of images."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.pipeline.reports.image_scores import (
    Column,
    ImageScores,
    read_image_scores,
    read_rows,
    with_accuracy,
)
from learned_saliency.storage import write_csv

_RESAMPLES = 2000
_LEVEL = 0.95
_CHUNK = 2**24  # numbers of a part of the resamples that are in memory at once
_FILE = "intervals.csv"


class Interval(NamedTuple):
    """Value of a metric with its bootstrap interval over images.

    Attributes:
        mean: Mean of the images' terms; of a metric that is no such mean, its value.
        low: Lower end of the interval.
        high: Upper end of the interval.
        images: Number of images, or samples, that have a term.
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
    columns = [("", str(k)) for k in range(terms.shape[1])]
    found = resampled(ImageScores([], columns, terms, {}), resamples, seed)
    ends = np.full((2, terms.shape[1]), np.nan)
    ends[:, ~np.isnan(terms).all(0)] = interval_ends(found, level)
    return ends


def resampled(
    scores: ImageScores, resamples: int = _RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Compute the metrics of draws of N of N images with replacement.

    The draws depend on N and the seed alone: two evaluations of the same images in the same order
    have the same images in each draw, so that the differences of their values are paired. Where an
    image is several samples, images are drawn with all of their samples, which share what makes an
    image easy or hard: draws of single samples would give intervals that are too narrow.

    Args:
        scores: Scores of N images, or of the samples of N images.
        resamples: Number R of draws.
        seed: Seed of the draws.

    Returns:
        Metrics in the order of ``scores.names()``, float64 (R, M); NaN where no image counts.
    """
    thinned = scores.thinned()
    if scores.sources is None:
        drawn = draws(len(scores.terms), resamples, seed)
    else:
        images, image = np.unique(scores.sources, return_inverse=True)
        drawn = (weights[:, image] for weights in draws(len(images), resamples, seed))
    return np.concatenate([thinned.values(weights) for weights in drawn])


def without_bias(drawn: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct resampled metrics that are no means for the bias of the metrics.

    The best of many thresholds is too high on few images: the values of the images at hand lie
    above those of all images, and those of draws lie above the values of the images at hand by
    about as much again. Shifted by twice this amount, the draws lie around the values less their
    bias (the bootstrap's estimate of bias, Efron and Tibshirani 1993, Ch. 10). In a difference of
    two methods most of the bias cancels, and the correction would add more than it takes.

    Args:
        drawn: Metrics of R draws, (..., R, M).
        values: Metrics of the images at hand, (..., M).

    Returns:
        Corrected metrics, (..., R, M).
    """
    return drawn - 2 * (drawn.mean(-2, keepdims=True) - values[..., None, :])


def draws(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of N images counts in draws with replacement, (R, N) in parts."""
    generator = np.random.default_rng(seed)
    shares = np.full(images, 1 / images)
    step = max(1, min(_CHUNK // images, 256))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        yield generator.multinomial(images, shares, size=count).astype(np.float64)


def interval_ends(values: NDArray[np.float64], level: float = _LEVEL) -> NDArray[np.float64]:
    """Return the lower and upper ends (2, M) of percentile intervals of resampled values (R, M)."""
    tail = 50 * (1 - level)
    return np.nanpercentile(values, [tail, 100 - tail], axis=0)


def intervals(folder: Path, seed: int = 0) -> Mapping[Column, Interval]:
    """Compute the metrics of an evaluation that follow from its images, with intervals of 95 %.

    Args:
        folder: Folder of the evaluation.
        seed: Seed of the resampling.

    Returns:
        Intervals by method and metric; metrics of no image are left out.
    """
    return score_intervals(with_accuracy(read_image_scores(folder), read_rows(folder)), seed)


def score_intervals(scores: ImageScores, seed: int = 0) -> Mapping[Column, Interval]:
    """Compute intervals of the metrics of images; see `intervals`."""
    counts = scores.images()
    if not counts:
        return {}
    values = scores.values(np.ones((1, len(scores.terms))))[0]
    drawn = resampled(scores, seed=seed)
    drawn = np.where(scores.are_means(), drawn, without_bias(drawn, values))
    low, high = interval_ends(drawn)
    ends = zip(values.tolist(), low.tolist(), high.tolist(), counts.values(), strict=True)
    return {column: Interval(*found) for column, found in zip(counts, ends, strict=True)}


def write_intervals(folder: Path, seed: int = 0) -> Path:
    """Write the intervals of an evaluation as ``intervals.csv``, one row per method and metric."""
    rows = (
        {"method": method, "metric": metric}
        | {"mean": f"{found.mean:.6g}", "low": f"{found.low:.6g}", "high": f"{found.high:.6g}"}
        | {"images": found.images}
        for (method, metric), found in intervals(folder, seed).items()
    )
    path = folder / _FILE
    write_csv(path, ["method", "metric", "mean", "low", "high", "images"], rows)
    return path


def read_intervals(folder: Path) -> Mapping[Column, Interval]:
    """Read ``intervals.csv`` of an evaluation; nothing where it is not there."""
    path = folder / _FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["method"], row["metric"]): Interval(
                *(float(row[key]) for key in ("mean", "low", "high")), int(row["images"])
            )
            for row in csv.DictReader(file)
        }
