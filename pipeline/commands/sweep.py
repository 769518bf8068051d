"""The end of a sweep (`train.py -m`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import SWEEP_RUNS


class SweepTable(Callback):
    """Ends a sweep with a table over all runs, on the terminal and as ``sweep.csv``.

    Hydra makes this callback before a command says what it is going to do; so it imports the job
    when there are runs to join.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Forget the runs of an earlier sweep in the same folder."""
        for path in Path(config.hydra.sweep.dir, SWEEP_RUNS).glob("*.json"):
            path.unlink()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Join the runs."""
        training = importlib.import_module("learned_saliency.pipeline.training")
        training.join_runs(Path(config.hydra.sweep.dir))
