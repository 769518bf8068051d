"""Scores of the single images of an evaluation, from which metrics of any of them follow."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learned_saliency.metrics import ImageStates
from learned_saliency.trainers import SCORES, STATES_FILE, read_image_states

TABLE_FILE = "images.csv"
#: Columns of ``images.csv`` that are no terms of metrics.
NO_TERMS = frozenset(
    ("image_id", "method", "label", "predicted", "target", "score", "image", "x0", "y0", "x1", "y1")
)

ACCURACY = "accuracy"
_EXACT = 2**24  # float32 holds all whole numbers up to it

Column = tuple[str, str]  # method and metric


class ImageScores(NamedTuple):
    """Scores of N images by all methods.

    Attributes:
        image_ids: Names of the images.
        columns: Method and metric of each column of ``terms``.
        terms: Terms of metrics that are means over images, float64 (N, K); NaN where an image has
            none.
        states: What each image adds to the states of the other metrics, (N, ...) each, by method
            and ``SCORE/STATE``; see `metrics.ImageStates`.
        sources: Names of the images that N samples show, where an image may be several of them;
            None where each is an image by itself.
    """

    image_ids: list[str]
    columns: list[Column]
    terms: NDArray[np.float64]
    states: Mapping[str, Mapping[str, NDArray[Any]]]
    sources: list[str] | None = None

    def names(self) -> list[Column]:
        """List method and metric of all values of `values`, in their order."""
        return list(self._counts())

    def are_means(self) -> NDArray[np.bool_]:
        """Tell of the M values of `values` which ones are means over images, bool (M,)."""
        means = set(self.columns)
        return np.array([name in means for name in self.names()], dtype=bool)

    def images(self) -> dict[Column, int]:
        """Count the images that have a part in each value."""
        return self._counts()

    def values(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute all metrics of images that count several times or not at all.

        Args:
            weights: How often each image counts, float (R, N), whole numbers.

        Returns:
            Metrics in the order of `names`, float64 (R, M); NaN where no image counts.
        """
        known = ~np.isnan(self.terms)
        terms = np.where(known, self.terms, 0.0)
        with np.errstate(invalid="ignore"):
            means = (weights @ terms) / (weights @ known)
        parts = [means[:, [k for k in range(len(self.columns)) if known[:, k].any()]]]
        drawn = torch.from_numpy(np.ascontiguousarray(weights))
        for method in self.states:
            for metric, states in self._metrics(method):
                sums = {name: _weighted(drawn, values) for name, values in states.items()}
                parts += [values.numpy()[:, None] for values in metric.of_states(sums).values()]
        return np.hstack(parts)

    def of(self, image_ids: Sequence[str]) -> ImageScores:
        """Take some images, in the order that is given."""
        places = {image: place for place, image in enumerate(self.image_ids)}
        rows = np.array([places[image] for image in image_ids], dtype=np.int64)
        states = {
            method: {name: values[rows] for name, values in states.items()}
            for method, states in self.states.items()
        }
        sources = None if self.sources is None else [self.sources[row] for row in rows]
        return ImageScores(list(image_ids), self.columns, self.terms[rows], states, sources)

    def thinned(self) -> ImageScores:
        """Leave out of the states what changes no metric, so that `values` takes less time.

        What is left are numbers that can be summed by products of matrices.
        """
        states = {
            method: {
                f"{key}/{state}": _to_multiply(values).numpy()
                for key, of_metric in self._grouped(method).items()
                for state, values in SCORES[key].metric.thinned(of_metric).items()
            }
            for method in self.states
        }
        return self._replace(states=states)

    def _grouped(self, method: str) -> dict[str, dict[str, Tensor]]:
        """Group the states of a method by its scores."""
        grouped: dict[str, dict[str, Tensor]] = {}
        for name, values in self.states[method].items():
            key, _, state = name.partition("/")
            if key in SCORES:
                grouped.setdefault(key, {})[state] = torch.from_numpy(np.ascontiguousarray(values))
        return grouped

    def _metrics(self, method: str) -> list[tuple[ImageStates, dict[str, Tensor]]]:
        """List the metrics of a method that have states, with these by their names."""
        return [(SCORES[key].metric, states) for key, states in self._grouped(method).items()]

    def _counts(self) -> dict[Column, int]:
        counts = (~np.isnan(self.terms)).sum(0).tolist()
        found = {column: n for column, n in zip(self.columns, counts, strict=True) if n}
        for method in self.states:
            for metric, states in self._metrics(method):
                flat = [values.reshape(len(values), -1).any(1) for values in states.values()]
                seen = int(torch.stack(flat).any(0).sum())
                ones = {name: values.double().sum(0) for name, values in states.items()}
                found |= {(method, name): seen for name in metric.of_states(ones)}
        return found


def _to_multiply(values: Tensor) -> Tensor:
    """Convert counts of N images to the fastest numbers that hold the sums of N of them exactly."""
    largest = len(values) * int(values.max()) if values.numel() else 0
    return values.to(torch.float32 if largest <= _EXACT else torch.float64)


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Sum states (N, ...) by weights (R, N) to float64 (R, ...)."""
    flat = values.reshape(len(values), -1)
    if flat.dtype != torch.float32:
        flat = flat.to(weights.dtype)
    sums = weights.to(flat.dtype) @ flat
    return sums.to(weights.dtype).view(len(weights), *values.shape[1:])


def read_image_scores(folder: Path) -> ImageScores:
    """Read the scores of all images of an evaluation or a run.

    Args:
        folder: Folder with ``images.csv`` and, beside it, ``image_states.npz``; without that the
            metrics that are means over images are known alone.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If it is not as evaluations write it.
    """
    path = folder / STATES_FILE
    return scores_of_rows(read_rows(folder), path if path.is_file() else None)


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Read the rows of an evaluation's ``images.csv``.

    Raises:
        OSError: If the file cannot be read.
    """
    with (folder / TABLE_FILE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def with_accuracy(scores: ImageScores, rows: Sequence[Mapping[str, str]]) -> ImageScores:
    """Add whether each image is classified right, as terms of ``accuracy``, to its other terms.

    Args:
        scores: Scores of some images.
        rows: Rows of ``images.csv``; of the methods that have one, each gets a column, unless no
            class is known.
    """
    hits = {(row["method"], row["image_id"]): _hit(row) for row in rows}
    methods = dict.fromkeys(row["method"] for row in rows)
    added = {
        (method, ACCURACY): [hits.get((method, image), np.nan) for image in scores.image_ids]
        for method in methods
    }
    added = {column: terms for column, terms in added.items() if not np.isnan(terms).all()}
    terms = np.column_stack([scores.terms, *added.values()])
    return scores._replace(columns=[*scores.columns, *added], terms=terms)


def _hit(row: Mapping[str, str]) -> float:
    label = row.get("label") or "-1"
    if not row.get("predicted") or label.startswith("-"):  # an unknown class
        return np.nan
    return float(row["predicted"] == label)


def scores_of_rows(
    rows: Sequence[Mapping[str, str]], states: Path | BinaryIO | None
) -> ImageScores:
    """Take the scores of all images out of an evaluation's table.

    Args:
        rows: Rows of ``images.csv``.
        states: File of the images' states, ``image_states.npz``; None where there is none.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not as evaluations write it, or of other images.
    """
    image_ids = list(dict.fromkeys(row["image_id"] for row in rows))
    found: Mapping[str, Mapping[str, NDArray[Any]]] = {}
    if states is not None and rows:
        known, found = read_image_states(states)
        if known != image_ids:
            raise ValueError(f"{STATES_FILE} is of other images than {TABLE_FILE} beside it")
    shown = {row["image_id"]: row["image"] for row in rows if row.get("image")}
    sources = [shown.get(image, image) for image in image_ids] if shown else None
    return ImageScores(image_ids, *terms_of_rows(rows), found, sources)


def terms_of_rows(
    rows: Sequence[Mapping[str, str]],
) -> tuple[list[Column], NDArray[np.float64]]:
    """Take the terms of all methods out of the rows of an ``images.csv``.

    Returns:
        Method and metric of each column, and the terms (N, K), images in the table's order; NaN
        where an image has none.
    """
    metrics = [name for name in (rows[0] if rows else {}) if name not in NO_TERMS]
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
