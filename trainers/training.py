"""Optimizers, random state and logged losses of a training, alike for every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.trainers.accumulation import AccumulationWindow
from learned_saliency.trainers.aside import Aside
from learned_saliency.trainers.means import EpochMeans

OptimizerFactory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


class TrainableModule(L.LightningModule):
    """Module whose training goes on, wherever it was interrupted, as if nothing had happened.

    Before each epoch the random state is set from (seed, epoch, rank), so that a resumed run draws
    the same numbers as an uninterrupted run; within an epoch it goes on from `random_state`.

    Under ``Trainer(accumulate_grad_batches=n)`` a step has the gradient of the mean loss over all
    images of its batches, as if they were one, also where batches differ in size and where an epoch
    ends with fewer than n of them.

    Args:
        optimizer: Factory of the optimizer, given parameter groups.
        scheduler: Factory of the scheduler, given the optimizer; stepped once per epoch.
        seed: Seed of all random draws in training.

    Attributes:
        alters_images: Whether a training step learns from altered copies of the batch's images, so
            that features of the images as they are would be others.
        means: Means over the epoch of the values that `log_means` was called with.
        aside: Runner of the work that validation and test do beside the network.
    """

    alters_images: ClassVar[bool] = False

    def __init__(
        self, *, optimizer: OptimizerFactory, scheduler: SchedulerFactory | None, seed: int
    ) -> None:
        super().__init__()
        self.seed = seed
        self.means = EpochMeans()
        self._window = AccumulationWindow()
        self._points: dict[str, tuple[Tensor | float, dict[str, Any]]] = {}
        self.aside = Aside()
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._group_names: list[str | None] = []  # names of the optimizer's parameter groups

    @property
    def accumulates(self) -> bool:
        """Tell whether batches wait for others to make a step; nothing is saved meanwhile."""
        return self.trainer.fit_loop._should_accumulate()

    def on_train_epoch_start(self) -> None:
        """Set the random state from (seed, epoch, rank); begin the means and curves."""
        torch.manual_seed(self.epoch_seed())
        self.means.reset()
        self._points.clear()

    def on_train_batch_start(self, batch: WSOLBatch, batch_idx: int) -> None:
        """Count the images of the batch."""
        if self.automatic_optimization:
            self._window.add(len(batch["label"]))

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the loss, weighted by the images of its batch; see `AccumulationWindow`."""
        weight = self._window.weight if self.automatic_optimization else 1.0
        super().backward(loss if weight == 1 else loss * weight, *args, **kwargs)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Turn the sum of the batches' gradients into that of the mean over their images."""
        if self.automatic_optimization:
            trained = (weight for group in optimizer.param_groups for weight in group["params"])
            self._window.close(trained, self.trainer.accumulate_grad_batches)

    def epoch_seed(self) -> int:
        """Derive a seed from the run's seed, the epoch and the rank alone."""
        entropy = (self.seed, self.current_epoch, self.global_rank)
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def random_state(self) -> dict[str, Tensor]:
        """Return the states of all generators that a training step draws from, by name."""
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def set_random_state(self, states: Mapping[str, Tensor]) -> None:
        """Go on drawing from a `random_state`."""
        torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)

    def keep_files(self, folder: Path) -> None:
        """Keep what is large in the training's state as files beside its checkpoints.

        Checkpoints then name these files. Nothing is large by default.

        Args:
            folder: Folder of the checkpoints.
        """

    def check_files(self, folder: Path, checkpoint: Mapping[str, Any]) -> None:
        """Check that the files are there that a checkpoint in ``folder`` names; see `keep_files`.

        Raises:
            MendableError: If one is missing; the message names it.
        """

    def drop_files(self) -> None:
        """Remove the files that no checkpoint names any more; see `keep_files`."""

    def log_losses(self, total: Tensor, terms: Mapping[str, Tensor], batch_size: int) -> None:
        """Log the loss as ``train/loss``, each term as ``train/loss_<term>``; see `log_means`."""
        values = {"train/loss": total, **{f"train/loss_{k}": v for k, v in terms.items()}}
        self.log_means(values, batch_size)

    def log_means(
        self, values: Mapping[str, Tensor], batch_size: int, on_step: bool = True
    ) -> None:
        """Log means over a batch: as they are and, at the end of the epoch, over all its images.

        Means over all processes are logged, each of which has to call this equally often.

        Args:
            values: Scalars by name. ``NAME_step`` and ``NAME_epoch`` are logged of each.
            batch_size: Number of images.
            on_step: Whether batches are logged; otherwise the epoch's mean alone, as ``NAME``.
        """
        for name, value in values.items():
            self.means.update(name if not on_step else f"{name}_epoch", value, batch_size)
            if on_step:
                options = {"batch_size": batch_size, "sync_dist": True}
                self.log_point(f"{name}_step", value.detach(), **options)

    def log_point(self, name: str, value: Tensor | float, **options: Any) -> None:
        """Log a point of a curve, if one is written after this batch or before the next call.

        Lightning writes the values of every ``log_every_n_steps``-th batch alone, but works on all
        that are logged.

        Args:
            name: Name of the curve.
            value: A scalar.
            **options: See ``LightningModule.log``.
        """
        self._points[name] = value, options

    def on_train_batch_end(self, *_: Any) -> None:
        """Log the points that are written now."""
        if self.trainer._logger_connector.should_update_logs:
            for name, (value, options) in self._points.items():
                self.log(name, value, **options)

    def on_train_epoch_end(self) -> None:
        """Log the means of the epoch and the learning rates that it was trained with."""
        found = self.means.compute(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))
        self.log_dict(found, sync_dist=True)  # equal on all processes
        optimizers = self.optimizers()
        first = optimizers[0] if isinstance(optimizers, list) else optimizers
        self.log_learning_rates(first)

    def log_learning_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Log each group's rate as ``train/lr``, or ``train/lr_<name>``; not of the name None."""
        for name, group in zip(self._group_names or [""], optimizer.param_groups, strict=False):
            if name is None:
                continue
            self.log(f"train/lr_{name}" if name else "train/lr", group["lr"], sync_dist=True)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the trained parameters in groups; ``lr_factor`` multiplies a group's rate.

        The rate of a group with a ``name`` is logged under that name, of the name None not at all;
        a single group needs no name.
        """
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def configure_optimizers(self) -> dict[str, Any]:
        """Build optimizer and scheduler with the factories."""
        groups = self.parameter_groups()
        self._group_names = [group.pop("name", "") for group in groups]
        optimizer = self._optimizer(groups)
        for group in optimizer.param_groups:
            group["lr"] *= group.pop("lr_factor", 1.0)
        if self._scheduler is None:
            return {"optimizer": optimizer}
        return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer)}
