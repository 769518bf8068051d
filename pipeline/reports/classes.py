"""Metrics of each class apart: how well its images are told, and how well its maps localize."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learned_saliency.metrics import Figure
from learned_saliency.pipeline.reports.image_scores import Column
from learned_saliency.pipeline.reports.saved import SavedEvaluation
from learned_saliency.storage import write_csv

CLASSES_FILE = "classes.csv"
_RECORD, _PRECISION = "classes", "average_precision"
_AT_ONCE = 64  # classes, whose weights of all images are in memory


class ClassRow(NamedTuple):
    """Metrics of the images, or samples, of one class.

    Attributes:
        label: Number of the class.
        name: Its name; the number where nobody knows one.
        images: How many of the tested images or samples are of it.
        precision: Average precision of the class over all images; NaN where no image has it, None
            for a classifier of exclusive classes.
        values: Leading metrics by method and metric, fractions; NaN where none of the images has
            the truth that a metric needs.
    """

    label: int
    name: str
    images: int
    precision: float | None
    values: Mapping[Column, float]


def classes_record(class_names: Sequence[str], precision: Sequence[float]) -> dict[str, Any]:
    """Record the average precision of each class; nothing where there is none.

    Args:
        class_names: Names of the classes.
        precision: Of each class, NaN where no image has it; empty for exclusive classes.
    """
    if not len(precision):
        return {}
    values = [None if math.isnan(value) else value for value in precision]
    return {_RECORD: {"names": list(class_names), _PRECISION: values}}


def class_rows(
    saved: SavedEvaluation, figures: Mapping[str, Figure], class_names: Sequence[str] = ()
) -> list[ClassRow]:
    """Compute the metrics of each class that is known to be on some image.

    Box metrics choose the threshold of each class anew, so that their mean over classes is at least
    the metric of all.

    Args:
        saved: The evaluation.
        figures: Declarations of its metrics, of which those that lead tables are taken.
        class_names: Names of the classes, where the results do not have them.
    """
    labels = {row["image_id"]: int(row.get("label") or -1) for row in saved.rows}
    of_image = np.array([labels.get(image, -1) for image in saved.scores.image_ids], dtype=int)
    recorded = saved.record.get(_RECORD) or {}
    names, precision = recorded.get("names", class_names), recorded.get(_PRECISION, [])
    known = sorted({*of_image[of_image >= 0].tolist(), *range(len(precision))})
    if not known:
        return []
    columns, found = _leading(saved, figures, of_image, known)
    counts = [int((of_image == label).sum()) for label in known]
    rows = []
    for label, count, values in zip(known, counts, found, strict=True):
        rows.append(
            ClassRow(
                label,
                names[label] if label < len(names) else str(label),
                count,
                _of_class(precision, label),
                dict(zip(columns, values.tolist(), strict=True)),
            )
        )
    return rows


def _leading(
    saved: SavedEvaluation, figures: Mapping[str, Figure], of_image: np.ndarray, known: list[int]
) -> tuple[list[Column], np.ndarray]:
    """Compute the leading metrics of the images of each class: columns, and (classes, columns)."""
    scores = saved.scores.thinned()
    columns = scores.names()
    leads = [k for k, (_, name) in enumerate(columns) if name in figures and figures[name].leads]
    if not leads:
        return [], np.empty((len(known), 0))
    found = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(0, len(known), _AT_ONCE):
            labels = np.array(known[start : start + _AT_ONCE])
            weights = (of_image == labels[:, None]).astype(np.float64)
            found.append(scores.values(weights)[:, leads])
    return [columns[k] for k in leads], np.concatenate(found)


def _of_class(precision: Sequence[float | None], label: int) -> float | None:
    if not len(precision):
        return None
    value = precision[label] if label < len(precision) else None
    return math.nan if value is None else float(value)


def write_classes(folder: Path, rows: Sequence[ClassRow]) -> Path | None:
    """Write the metrics of each class as CSV, fractions; nothing without rows."""
    if not rows:
        return None
    told = any(row.precision is not None for row in rows)
    columns = [*rows[0].values]
    heads = ["class", "name", "images", *([_PRECISION] if told else [])]
    heads += [f"{method}/{name}" for method, name in columns]
    table = []
    for row in rows:
        own = [row.precision] if told else []
        values = [_number(v) for v in [*own, *(row.values[column] for column in columns)]]
        cells = [row.label, row.name, row.images, *values]
        table.append(dict(zip(heads, cells, strict=True)))
    write_csv(folder / CLASSES_FILE, heads, table)
    return folder / CLASSES_FILE


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"
