"""Logger of curves to a file."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from learned_saliency.storage import sync, write_csv
from learned_saliency.trainers.loggers.dashboard import STAGE_SEPARATOR, Dashboard, prefixed

METRICS_FILE = "metrics.csv"


class MetricsCSV(Dashboard, CSVLogger):
    """Curves of all stages of a run in one ``metrics.csv``.

    Lightning's own logger deletes a file that it finds and keeps rows in memory; this one continues
    the file, so that a second stage adds to the first stage's curves and a resumed run to its
    earlier curves, and writes each row at once, so that a kill loses none.

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
    def experiment(self) -> MetricsFile:
        """Writer of the file."""
        if self._experiment is None:
            self._experiment = MetricsFile(Path(self.log_dir, METRICS_FILE))
            if self._resume_step is not None:
                self._experiment.drop(self._prefix, self._resume_step)
        return self._experiment

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's folder holds the whole configuration already."""


class MetricsFile:
    """Table of curves on disk, whose rows are written one by one.

    A row that a kill or a full disk has cut is dropped when the file is opened.

    Args:
        path: The file; it is made with the first row.

    Attributes:
        count: Number of rows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self.count = 0
        if path.is_file():
            self.count = len(self._rows())
            if not path.read_bytes().endswith(b"\n"):
                self.keep(self.count)

    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        """Write a row of values by column."""
        row = {name: v.item() if isinstance(v, Tensor) else v for name, v in metrics.items()}
        row["step"] = self.count if step is None else step
        new = sorted(row.keys() - set(self._columns))
        if new:
            rows = self._rows()
            self._columns += new
            write_csv(self.path, self._columns, [*rows, row])
        else:
            self._append(row)
        self.count += 1

    def save(self) -> None:
        """Wait until all rows are on the disk."""
        if self.path.is_file():
            sync(self.path)

    def keep(self, count: int) -> None:
        """Drop all rows but the first ``count``."""
        self._replace(self._rows()[:count])

    def drop(self, stage: str, step: int) -> None:
        """Drop a stage's rows from a step on."""
        self._replace([row for row in self._rows() if not _logged_since(row, stage, step)])

    def _replace(self, rows: list[dict[str, str]]) -> None:
        self.count = len(rows)
        if self._columns:
            write_csv(self.path, self._columns, rows)

    def _rows(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        reader = csv.DictReader(whole)
        rows = list(reader)
        self._columns = list(reader.fieldnames or [])
        return rows

    def _append(self, row: Mapping[str, object]) -> None:
        """Add a row at the end; a failure leaves the file as it was."""
        text = io.StringIO()
        csv.DictWriter(text, self._columns).writerow(row)
        content = text.getvalue().encode()
        with self.path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            except OSError:
                os.truncate(self.path, end)
                raise


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
