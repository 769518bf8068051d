"""Evaluations and runs on disk, as far as reports of several of them need them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from learned_saliency.datamodules import SPLITS
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.reports.gallery import SavedGallery, read_gallery
from learned_saliency.pipeline.reports.image_scores import (
    TABLE_FILE,
    ImageScores,
    read_image_scores,
)
from learned_saliency.pipeline.reports.results import Results, restored
from learned_saliency.storage import read_json

_RESULTS = "results.json"


class SavedEvaluation(NamedTuple):
    """Finished evaluation, or the test of a run.

    Attributes:
        path: Its folder.
        split: Name of the tested split.
        results: Metrics by method, fractions.
        record: The other keys of ``results.json``: the origin of the metrics.
        rows: Rows of ``images.csv``.
        scores: Scores of the single images.
    """

    path: Path
    split: str
    results: Results
    record: Mapping[str, Any]
    rows: list[dict[str, str]]
    scores: ImageScores

    def gallery(self) -> SavedGallery:
        """Read the pictures of its gallery.

        Raises:
            UserError: If they cannot be read.
        """
        try:
            return read_gallery(self.path)
        except (OSError, ValueError) as error:
            raise UserError(f"{error}; evaluate anew.") from None


def read_saved(place: str | Path) -> SavedEvaluation:
    """Read an evaluation or a run.

    Args:
        place: Its folder.

    Raises:
        UserError: If it is none, or was not finished.
    """
    path = Path(place).expanduser()
    for name in (_RESULTS, TABLE_FILE):
        if not (path / name).is_file():
            raise UserError(
                f"{place}: has no {name}; expected the folder of a finished evaluate.py, or of a "
                "run that was tested."
            )
    try:
        content = read_json(path / _RESULTS)
        split = next(key for key in content if key in SPLITS)
        results = restored(content[split])
        with (path / TABLE_FILE).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        scores = read_image_scores(path)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError) as error:
        raise UserError(
            f"{place}: is not as evaluations write it ({type(error).__name__}: {error}); evaluate "
            "anew."
        ) from None
    record = {key: value for key, value in content.items() if key != split}
    return SavedEvaluation(path, split, results, record, rows, scores)
