"""Where curves and pictures go."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

STAGE_SEPARATOR = "/"


class MetricsCSV(CSVLogger):
    """Curves of all stages of a run in one ``metrics.csv``.

    Lightning's own logger deletes a file that it finds; this one continues it, so that a second
    stage adds to the first one's curves and a resumed run to those before it.

    Args:
        run_dir: The run's folder.
        stage: Put before the names of an earlier stage's curves; empty for the last stage.
        resume_step: Step at which an interrupted run goes on: what it had logged from there on is
            dropped, as it will be logged again.
    """

    LOGGER_JOIN_CHAR = STAGE_SEPARATOR

    def __init__(self, run_dir: Path, stage: str = "", resume_step: int | None = None) -> None:
        super().__init__(run_dir, name="", version="", prefix=stage)
        self._resume_step = resume_step

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The file's writer."""
        if self._experiment is None:
            self._experiment = _ContinuingWriter(self.log_dir, self._prefix, self._resume_step)
        return self._experiment

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds the whole configuration already."""


class _ContinuingWriter(ExperimentWriter):
    """Appends to the file that it finds."""

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
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(row for row in rows if not _logged_since(row, stage, resume_step))
        temporary.replace(path)

    def _check_log_dir_exists(self) -> None:
        """Keep what is there."""


def _logged_since(row: dict[str, str], stage: str, step: int) -> bool:
    epoch = f"{stage}{STAGE_SEPARATOR}epoch" if stage else "epoch"  # in each row of a stage
    return bool(row.get(epoch)) and int(row["step"]) >= step


class WandbDashboard(WandbLogger):
    """Weights & Biases: online where credentials are found, offline otherwise; never a question.

    The dashboard's id is kept in the run's folder, so that both stages and a resumed run write to
    the same one. ``WANDB_MODE``, where it is set, decides instead of the credentials.

    Args:
        run_dir: The run's folder; its name is the dashboard's.
        stage: Put before the names of an earlier stage's curves; empty for the last stage.
        resume_step: Unused: the dashboard drops repeated steps itself.
        project: Project on the dashboard's server.
        entity: User or team; ``None`` for the account's default.
    """

    LOGGER_JOIN_CHAR = STAGE_SEPARATOR

    def __init__(
        self,
        run_dir: Path,
        stage: str = "",
        resume_step: int | None = None,
        project: str = "learned-saliency",
        entity: str | None = None,
    ) -> None:
        id_file = Path(run_dir) / "wandb_id.txt"
        resumed = id_file.is_file()
        super().__init__(
            name=Path(run_dir).name,
            save_dir=run_dir,
            project=project,
            entity=entity,
            prefix=stage,
            id=id_file.read_text().strip() if resumed else None,
            resume="allow",
            mode=os.environ.get("WANDB_MODE") or ("online" if _has_credentials() else "offline"),
        )
        self._id_file = id_file

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The dashboard's run, whose id is written down when it starts."""
        run = super().experiment
        if self.version and not self._id_file.is_file():
            self._id_file.write_text(f"{self.version}\n")
        return run


def _has_credentials() -> bool:
    import wandb  # here: importing it takes a second that runs without a dashboard need not pay

    return bool(wandb.login(prompt=False))
