"""Logger of curves to a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from learned_saliency.storage import write_csv
from learned_saliency.trainers.loggers.dashboard import STAGE_SEPARATOR, Dashboard, prefixed

METRICS_FILE = "metrics.csv"


class MetricsCSV(Dashboard, CSVLogger):
    """Curves of all stages of a run in one ``metrics.csv``.

    Lightning's own logger deletes a file that it finds; this one continues the file, so that a
    second stage adds to the first stage's curves and a resumed run to its earlier curves.

    Args:
        run_dir: The run's folder.
        stage: Prefix of the names of an earlier stage's curves; empty for the last stage.
        resume_step: Step at which an interrupted run goes on; rows logged from there on are
            dropped, as they will be logged again.
    """

    LOGGER_JOIN_CHAR = STAGE_SEPARATOR

    def __init__(self, run_dir: Path, stage: str = "", resume_step: int | None = None) -> None:
        super().__init__(run_dir, name="", version="", prefix=stage)
        self._resume_step = resume_step

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """Writer of the file."""
        if self._experiment is None:
            self._experiment = _ContinuingWriter(self.log_dir, self._prefix, self._resume_step)
        return self._experiment

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's folder holds the whole configuration already."""


class _ContinuingWriter(ExperimentWriter):
    """Writer that appends to the file that it finds."""

    def __init__(self, log_dir: str, stage: str, resume_step: int | None) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            self.metrics_keys = list(reader.fieldnames or [])
        if resume_step is None:
            return
        kept = (row for row in rows if not _logged_since(row, stage, resume_step))
        write_csv(path, self.metrics_keys, kept)

    def _check_log_dir_exists(self) -> None:
        """Keep the files that are there."""


def _logged_since(row: dict[str, str], stage: str, step: int) -> bool:
    return bool(row.get(prefixed(stage, "epoch"))) and int(row["step"]) >= step


def read_rows(path: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Read the rows of ``metrics.csv``: stage, step, and values under their full names."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            values = {name: float(value) for name, value in row.items() if value}
            ends = {name.rpartition(STAGE_SEPARATOR)[::2] for name in values}
            yield next((stage for stage, last in ends if last == "epoch"), ""), step, values
