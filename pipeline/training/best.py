"""Checkpoint of a stage's best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

_VAL = "val/"


class KeepBest(Checkpoint):
    """Writer of ``best.ckpt`` at the end of each epoch that beats those before.

    Lightning's own keeps the paths of the run in its checkpoints, so that a run which was moved
    writes into its old folder or forgets its best epoch.

    Args:
        path: The checkpoint.
        monitor: Name of the logged metric that chooses; the last epoch is kept as long as none was
            validated.
        higher_is_better: Direction of the metric.
        reference: Name of a logged metric that would have chosen otherwise, higher being better;
            None where there is none to compare with.

    Attributes:
        curve: Values of the monitor by the number of the epoch, from 0 on; None in a run that goes
            on and did not keep them.
        score: Value of the metric in the epoch that is kept; None where nothing has chosen it.
        values: All logged metrics of `val` in that epoch by name; empty where nothing has chosen.
    """

    def __init__(
        self,
        path: Path,
        monitor: str,
        higher_is_better: bool = True,
        reference: str | None = None,
    ) -> None:
        self.path = path
        self.monitor = monitor
        self.score: float | None = None
        self.values: dict[str, float] = {}
        self.curve: dict[int, float] | None = {}
        self._reference = reference
        self._best: float | None = None  # the reference in its best epoch
        self._sign = 1 if higher_is_better else -1
        self._validated = False

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint."""
        return "best"

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Take the first process's path: the name of a folder may hold the time of its start."""
        self.path = trainer.strategy.broadcast(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Return the score with the metric's name, and what it is compared with."""
        state = {"monitor": self.monitor, "score": self.score}
        curve = None if self.curve is None else dict(self.curve)
        return state | {"values": dict(self.values), "best": self._best, "curve": curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the curve, and the score of the file that is there."""
        curve = state_dict.get("curve")  # runs of before did not keep it
        self.curve = None if curve is None else dict(curve)
        if self.path.is_file():
            self.score, self._best = state_dict["score"], state_dict["best"]
            self.values = dict(state_dict["values"])
        else:
            self.score, self._best, self.values = None, None, {}

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Note that the metric belongs to this epoch."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save the epoch if it is the best so far, or none was validated yet."""
        value = trainer.callback_metrics.get(self.monitor) if self._validated else None
        reference = trainer.callback_metrics.get(self._reference) if self._validated else None
        self._validated = False
        if value is None:
            if self.score is None:
                trainer.save_checkpoint(self.path, weights_only=False)
            return
        score = float(value)
        if self.curve is not None:
            self.curve[trainer.current_epoch] = score
        if reference is not None:
            self._best = max(float(reference), -math.inf if self._best is None else self._best)
        if self.score is None or self._sign * score > self._sign * self.score:
            self.score = score
            logged = trainer.callback_metrics.items()
            self.values = {k: float(value) for k, value in logged if k.startswith(_VAL)}
            trainer.save_checkpoint(self.path, weights_only=False)

    def regret(self) -> dict[str, float]:
        """Compare the kept epoch with the one that the reference would have chosen.

        Returns:
            Values of the reference: ``chosen``, in the kept epoch, ``best``, in its best epoch, and
            ``regret``, their difference, at least 0; empty without a reference.
        """
        if self._best is None or self._reference not in self.values:
            return {}
        chosen = self.values[self._reference]
        return {"chosen": chosen, "best": self._best, "regret": self._best - chosen}


def chosen_values(checkpoint: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """Read what has chosen the epoch of a ``best.ckpt``.

    Args:
        checkpoint: Lightning's dictionary.

    Returns:
        The metric that has chosen, and the metrics of the native map on `val` in this epoch by
        name; empty where no epoch was validated.
    """
    state = checkpoint["callbacks"]["best"]
    values = {name.rpartition("/")[2]: value for name, value in state["values"].items()}
    return state["monitor"].rpartition("/")[2], values
