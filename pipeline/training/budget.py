"""Budget of a training: its epochs, passes over the images, and optimizer steps."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L

from learned_saliency.datamodules import TrainBatches, TrainSampler
from learned_saliency.trainers import SaliencyModule


class Budget(L.Callback):
    """Counter of what a training consists of, which says at its start that epochs are longer.

    A step is one of all optimizers together, and has the gradients of
    ``trainer.accumulate_grad_batches`` batches.

    Args:
        title: What is trained, in the message on stderr.
        word: Words that ask for longer epochs, ``recipe.epoch_steps=300``; not asked for if empty.

    Attributes:
        epochs: Number of epochs that were trained.
        passes: Number of passes over the training images in an epoch; of an epoch that
            ``trainer.limit_train_batches`` ends, of those that were begun.
        images: Number of images of a pass.
        steps: Number of steps; None where a run goes on that did not count them.
    """

    def __init__(self, title: str, word: str = "") -> None:
        self.title, self.word = title, word
        self.epochs, self.passes, self.images = 0, 1, 0
        self.steps: int | None = 0

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint."""
        return "budget"

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers."""
        return {key: getattr(self, key) for key in ("epochs", "passes", "images", "steps")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        for key, value in state_dict.items():
            setattr(self, key, value)

    def on_load_checkpoint(
        self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note that the steps of before are unknown, where they are."""
        if self.state_key not in checkpoint.get("callbacks", {}):
            self.steps = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Read how long an epoch is, and say so where it is longer than one pass."""
        batches = getattr(trainer.train_dataloader, "batch_sampler", None)
        sampler = getattr(batches, "sampler", None)
        if not isinstance(sampler, TrainSampler):
            return
        count, whole = int(trainer.num_training_batches), len(batches)
        self.passes = -(-count * sampler.passes // whole)
        self.images = sampler.pass_images
        if trainer.is_global_zero and isinstance(batches, TrainBatches):
            print(f"{self.title}: {_told(batches, self.word, count)}", file=sys.stderr, flush=True)

    def on_train_batch_end(self, trainer: L.Trainer, module: SaliencyModule, *_: Any) -> None:
        """Count the step, if the batch has made one."""
        if self.steps is not None and not module.accumulates:
            self.steps += 1

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Count the epoch."""
        self.epochs = trainer.current_epoch + 1


def _told(batches: TrainBatches, word: str, count: int) -> str:
    """Say how many passes an epoch takes, and where a limit of ``count`` batches ends it."""
    steps = -(-batches.pass_batches // batches.length.batches_per_step)
    one = "1 step is" if steps == 1 else f"{steps:,} steps are"
    told = (
        f"{one} one pass over {batches.sampler.pass_images:,} images, an epoch takes "
        f"{batches.sampler.passes:,} passes ({word})"
    )
    if count < len(batches):
        told += (
            f", of which trainer.limit_train_batches leaves {count:,} of {len(batches):,} batches"
        )
    return told
