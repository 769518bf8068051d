"""End of a training that diverged, with a message that tells what to change."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from learned_saliency.errors import MendableError


class DivergedError(MendableError, RuntimeError):
    """Weights are NaN or infinite; the message says when it was noticed and what to change."""


class Divergence(L.Callback):
    """Callback that ends a training with NaN or infinite weights before they are saved.

    The weights are checked every ``trainer.log_every_n_steps`` batches and at the end of each
    epoch, before validation. Processes of DDP have the same weights, so that all of them end.

    Raises:
        DivergedError: If a weight or a statistic of BatchNorm is NaN or infinite.
    """

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Check the weights every few batches."""
        if (batch_idx + 1) % max(trainer.log_every_n_steps, 1) == 0:
            check_weights(trainer, module)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Check the weights before maps are made with them."""
        if not trainer.sanity_checking:
            check_weights(trainer, module)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Check the weights before they are saved, in a training without validation."""
        check_weights(trainer, module)


def check_weights(trainer: L.Trainer, module: L.LightningModule) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        DivergedError: If one is.
    """
    weights = [value for value in module.state_dict().values() if value.is_floating_point()]
    if bool(torch.stack([value.isfinite().all() for value in weights]).all()):
        return
    rates = sorted({group["lr"] for o in trainer.optimizers for group in o.param_groups})
    raise DivergedError(
        f"the training diverged: weights are NaN or infinite in epoch "
        f"{trainer.current_epoch + 1} of {trainer.max_epochs}, at learning rates of "
        f"{', '.join(f'{rate:g}' for rate in rates)}. Lower them in `recipe`; checkpoints are "
        "of the epochs before."
    )
