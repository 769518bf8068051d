"""Logger to TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

from learned_saliency.trainers.loggers.dashboard import STAGE_SEPARATOR, Dashboard, Report, prefixed
from learned_saliency.trainers.loggers.tables import results_markdown


class TensorBoardDashboard(Dashboard, TensorBoardLogger):
    """Curves, pictures and tables in ``tensorboard/``.

    Each stage has a folder there: values that a resumed run logs again replace the earlier ones.

    Args:
        run_dir: The run's folder.
        stage: Prefix of the names of an earlier stage's curves; empty for the last stage.
        resume_step: Step at which an interrupted run goes on.
    """

    LOGGER_JOIN_CHAR = STAGE_SEPARATOR

    def __init__(self, run_dir: Path, stage: str = "", resume_step: int | None = None) -> None:
        super().__init__(
            Path(run_dir) / "tensorboard",
            name=stage or "model",
            version="",
            prefix=stage,
            default_hp_metric=False,
            purge_step=resume_step,
        )

    @rank_zero_only
    def save(self) -> None:
        """Write all logged values to disk, so that a kill loses none."""
        self.experiment.flush()

    @rank_zero_only
    def log_config(self, config: dict[str, Any]) -> None:
        """Show the configuration as text."""
        text = OmegaConf.to_yaml(OmegaConf.create(config))
        self.experiment.add_text("config", "".join(f"    {x}\n" for x in text.splitlines()))

    @rank_zero_only
    def log_picture(self, name: str, path: Path, epoch: int, step: int) -> None:
        """Show a PNG."""
        colors = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        self.experiment.add_image(prefixed(self._prefix, name), colors, step, dataformats="HWC")

    @rank_zero_only
    def log_report(self, report: Report) -> None:
        """Show the table of methods as text, and the pictures."""
        self.experiment.add_text(f"{report.split}/results", results_markdown(report))
        for path in report.pictures:
            self.log_picture(f"pictures/{path.stem}", path, 0, 0)
        self.save()
