"""Evaluations and runs on disk, as far as reports of several of them need them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules import SPLITS
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.reports.bundle_gallery import bundle_gallery
from learned_saliency.pipeline.reports.gallery import SavedGallery, read_gallery
from learned_saliency.pipeline.reports.image_scores import (
    TABLE_FILE,
    ImageScores,
    read_image_scores,
    scores_of_rows,
)
from learned_saliency.pipeline.reports.results import Results, restored
from learned_saliency.pipeline.runs import Bundle
from learned_saliency.storage import parse_json, read_json
from learned_saliency.trainers import STATES_FILE

_RESULTS = "results.json"
_FAULTS = (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError)


class SavedEvaluation(NamedTuple):
    """Finished evaluation, or the test of a run.

    Attributes:
        path: Its folder, or its bundle.
        split: Name of the tested split.
        results: Metrics by method, fractions.
        record: The other keys of ``results.json``: the origin of the metrics.
        rows: Rows of ``images.csv``.
        scores: Scores of the single images.
        bundle: The bundle that it was read from; None for a folder.
    """

    path: Path
    split: str
    results: Results
    record: Mapping[str, Any]
    rows: list[dict[str, str]]
    scores: ImageScores
    bundle: Bundle | None = None

    def gallery(self) -> SavedGallery:
        """Read the pictures of its gallery; of a bundle without one draw its maps on gray.

        Raises:
            UserError: If they cannot be read.
        """
        try:
            return read_gallery(self.path) if self.bundle is None else bundle_gallery(self.bundle)
        except UserError:  # a damaged bundle, told already
            raise
        except (OSError, ValueError) as error:
            raise UserError(f"{error}; evaluate anew.") from None

    def maps(self, image_id: str, method: str) -> NDArray[np.float32] | None:
        """Read the map (H, W) in [0, 1] of an image by a method, exactly as it was measured.

        Args:
            image_id: Name of the image, one of ``scores.image_ids``.
            method: Name of the method.

        Returns:
            The map; None for a folder, which does not have it.

        Raises:
            UserError: If it cannot be read.
        """
        return None if self.bundle is None else self.bundle.map_of(image_id, method)


def read_saved(place: str | Path) -> SavedEvaluation:
    """Read an evaluation or a run, which may be anyone's.

    Args:
        place: Its folder, or the bundle of an evaluation, a file.

    Raises:
        UserError: If it is none, was not finished, or is damaged.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return _read_bundle(place, Bundle(path))
    for name in (_RESULTS, TABLE_FILE):
        if not (path / name).is_file():
            raise UserError(
                f"{place}: has no {name}; expected the folder of a finished evaluate.py, or of a "
                "run that was tested."
            )
    try:
        split, results, record = _parsed(read_json(path / _RESULTS))
        with (path / TABLE_FILE).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        scores = read_image_scores(path)
    except _FAULTS as error:
        raise _strange(place, error) from None
    return SavedEvaluation(path, split, results, record, rows, scores)


def _read_bundle(place: str | Path, bundle: Bundle) -> SavedEvaluation:
    """Read what a bundle holds of an evaluation."""
    split, results, record = bundle_results(bundle)
    contents = {name: bundle.read(name) for name in (TABLE_FILE, STATES_FILE)}
    try:
        rows = list(csv.DictReader(StringIO(contents[TABLE_FILE].decode(), newline="")))
        scores = scores_of_rows(rows, BytesIO(contents[STATES_FILE]))
        if scores.image_ids != [image.image_id for image in bundle.images]:
            raise ValueError(f"{TABLE_FILE} is of other images than the maps")
    except _FAULTS as error:
        raise _strange(place, error) from None
    return SavedEvaluation(bundle.path, split, results, record, rows, scores, bundle)


def bundle_results(bundle: Bundle) -> tuple[str, Results, dict[str, Any]]:
    """Read split, metrics by method and further keys of a bundle's ``results.json``.

    Raises:
        UserError: If it is damaged, or is not as evaluations write it.
    """
    content = bundle.read(_RESULTS)
    try:
        return _parsed(parse_json(content))
    except _FAULTS as error:
        raise _strange(bundle.path, error) from None


def _parsed(read: Any) -> tuple[str, Results, dict[str, Any]]:
    """Tell split, metrics and further keys of a ``results.json`` apart.

    Raises:
        ValueError: If something else stands where a split, a method or a number should be.
    """
    split = next((key for key in read if key in SPLITS), None) if isinstance(read, dict) else None
    if split is None:
        raise ValueError(f"{_RESULTS} has no metrics of a split")
    methods = read[split]
    if not isinstance(methods, dict) or not all(isinstance(v, dict) for v in methods.values()):
        raise ValueError(f"{_RESULTS} has no table of methods and metrics")
    for method, values in methods.items():
        for name, value in values.items():
            if not _is_number(value):
                where = f"{split}, {method:.80}, {name:.80}"
                raise ValueError(f"{_RESULTS} has {value!r:.40} where a number should be: {where}")
    return split, restored(methods), {key: v for key, v in read.items() if key != split}


def _is_number(value: Any) -> bool:
    """Tell whether a value of JSON is a metric: null, or a number that a float can hold."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= sys.float_info.max
    return value is None or isinstance(value, float)


def _strange(place: str | Path, error: Exception) -> UserError:
    return UserError(
        f"{place}: is not as evaluations write it ({type(error).__name__}: {error}); evaluate anew."
    )
