"""Base of dashboards that keep values by name and step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.pytorch.loggers import Logger

from learned_saliency.trainers.loggers.dashboard import prefixed
from learned_saliency.trainers.loggers.harmless import HarmlessDashboard, harmless
from learned_saliency.trainers.loggers.metrics_csv import METRICS_FILE, read_rows

Logged = dict[str, dict[int, Any]]


class SteppedDashboard(HarmlessDashboard, Logger):
    """Dashboard on which all stages of a run share one run, also after the run is resumed.

    A resumed run leaves out the values that are there already, and adds values of ``metrics.csv``
    that a kill has kept from the dashboard.

    Args:
        run_dir: The run's folder; the dashboard has its name.
        stage: Prefix of the names of an earlier stage's curves; empty for the last stage.
        resume_step: Step at which an interrupted run goes on.
        checkpoints: Whether the best checkpoints are stored as artifacts when the run ends.
    """

    def __init__(
        self,
        run_dir: Path,
        stage: str = "",
        resume_step: int | None = None,
        checkpoints: bool = True,
    ) -> None:
        super().__init__()
        self._folder = Path(run_dir)
        self._stage = stage
        self._resume_step = resume_step
        self._checkpoints = checkpoints
        self._step = 0  # step of the values logged last
        self._run: Any = None
        self._before: Logged = {}  # values by name and step that the run had when it was joined

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._folder.name

    @property
    def version(self) -> str:
        """Empty: the name is enough."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The service's own object; started, or joined if the run has begun, at first use."""
        if self._run is None and not self.lost:
            self._run = self.started(self._join)
            if self._run is not None:
                self._go_on()
        return _DummyExperiment() if self.lost else self._run

    @abstractmethod
    def _join(self) -> Any:
        """Start the run, or join it; return the service's own object."""

    @abstractmethod
    def _logged(self) -> Logged | None:
        """Read the values that were logged before; None where nobody can tell."""

    @abstractmethod
    def _write(self, values: Mapping[str, float], step: int) -> None:
        """Log values under their full names at a step."""

    def _go_on(self) -> None:
        """Find what was logged before the run was joined, and add what it lacks."""
        try:
            logged = self._logged()
            if logged is None:
                return
            self._before = logged
            curves = self._folder / METRICS_FILE
            if self._resume_step is None or not curves.is_file():
                return
            for stage, step, values in read_rows(curves):
                if stage != self._stage or step < self._resume_step:
                    self._log(values, step)
        except Exception as error:  # a damaged file of the interrupted run, for example
            self.warn("find what was logged before", error)

    def _is_logged(self, name: str, step: int, value: Any) -> bool:
        """Find out whether a value was logged before; a new evaluation may change its value."""
        before = self._before.get(name, {})
        return step in before and (self._resume_step is not None or before[step] == value)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        new = {k: v for k, v in values.items() if not self._is_logged(k, step, v)}
        if new:
            self._write(new, step)

    @harmless
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values at a step; without a step, beside the values logged last."""
        _ = self.experiment
        self._step = self._step if step is None else step
        named = {prefixed(self._stage, name): float(value) for name, value in metrics.items()}
        if not self.lost:
            self._log(named, self._step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration holds them already."""
