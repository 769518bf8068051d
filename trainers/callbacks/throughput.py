"""Measurement of the speed of a training."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import lightning as L

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.trainers.training import TrainableModule

NAME = "train/images_per_second"


class Throughput(L.Callback):
    """Logger of ``train/images_per_second`` over the last ``trainer.log_every_n_steps`` batches.

    The time of loading counts; validation and other work between epochs do not. Processes of DDP
    keep step, so that the sum over them is this process's speed times their number; the speed of
    this process alone is logged as ``train/images_per_second_per_process``.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()  # seconds, images done at that moment
        self._images = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Set the number of batches to average over."""
        self._marks = deque(maxlen=max(trainer.log_every_n_steps, 1) + 1)

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Leave out the time since the last epoch."""
        self._marks.clear()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Leave out the time of the validation."""
        self._marks.clear()

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: WSOLBatch, batch_idx: int
    ) -> None:
        """Start the clock."""
        if not self._marks:
            self._marks.append((time.perf_counter(), self._images))

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: TrainableModule,
        outputs: Any,
        batch: WSOLBatch,
        batch_idx: int,
    ) -> None:
        """Log the speed of the last batches."""
        self._images += len(batch["label"])
        self._marks.append((time.perf_counter(), self._images))
        (began, before), (now, images) = self._marks[0], self._marks[-1]
        rate = (images - before) / max(now - began, 1e-9)
        module.log_point(NAME, rate * trainer.world_size, rank_zero_only=True)
        if trainer.world_size > 1:
            module.log_point(f"{NAME}_per_process", rate, rank_zero_only=True)
