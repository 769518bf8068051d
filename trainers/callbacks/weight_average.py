"""Moving average of the weights of a training."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from learned_saliency.trainers.base import SaliencyModule

_SLOWNESS = 10  # steps from which on the average looks back


class WeightAverage(L.Callback):
    """Callback that validates and keeps an exponential moving average of the trained weights.

    After step t the average is d_t times the average before and 1 - d_t times the weights, with
    d_t = min(decay, (1 + t) / (10 + t)), so that it leaves the initial weights behind soon. It
    covers the parameters of ``module.network`` that are trained and, as in timm, the statistics of
    BatchNorm in those parts that are in training mode; the number of batches that they have seen is
    the network's own. Frozen parts are the same in both and not copied.

    In validation, and for what other callbacks draw at its end, the network has the averaged
    weights; so have the ``state_dict`` of every checkpoint and whatever is loaded from it. Training
    goes on with the weights themselves, which are in the state of this callback, so that a run that
    goes on continues to the bit. Under accumulation a step is that of the optimizer, and of CASM's
    optimizers one iteration. Networks beside ``module.network``, CASM's pool or the moving average
    of CALM's pseudo-targets, are left alone.

    Lightning's ``WeightAveraging`` averages all buffers, the box threshold too, copies frozen
    classifiers, and is over before pictures are drawn.

    The callback comes after others that look at the network in validation.

    Args:
        decay: Part of the average that a step keeps, in [0, 1).

    Raises:
        ValueError: If ``decay`` is out of range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self._steps = 0
        self._weights: dict[str, Tensor] = {}  # by their names in the module's state_dict
        self._others: dict[str, Tensor] = {}  # averages; while these are in use, the weights
        self._loaded: dict[str, Tensor] | None = None
        self._in_use = False

    @property
    def state_key(self) -> str:
        """Key of the state in a checkpoint."""
        return "average"

    @staticmethod
    def averaged(module: SaliencyModule) -> dict[str, Tensor]:
        """Find the tensors that are averaged, by their names in the module's ``state_dict``."""
        stored, found = module.state_dict(), {}
        for path, part in module.network.named_modules(prefix="network"):
            own = [(k, v) for k, v in part.named_parameters(recurse=False) if v.requires_grad]
            if part.training:
                own += [
                    (k, v) for k, v in part.named_buffers(recurse=False) if v.is_floating_point()
                ]
            found |= {f"{path}.{name}": tensor for name, tensor in own}
        return {name: tensor for name, tensor in found.items() if name in stored}

    def on_train_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Begin the average with the weights, or go on with that of a checkpoint."""
        self._weights = self.averaged(module)
        self._others = {name: tensor.detach().clone() for name, tensor in self._weights.items()}
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            for name, tensor in self._weights.items():
                tensor.detach().copy_(loaded[name])

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, module: SaliencyModule, *_: Any) -> None:
        """Update the average after a step."""
        if module.accumulates:
            return
        self._steps += 1
        decay = min(self.decay, (1 + self._steps) / (_SLOWNESS + self._steps))
        weights = [weight.detach() for weight in self._weights.values()]
        get_ema_multi_avg_fn(decay)(list(self._others.values()), weights, self._steps)

    def on_validation_start(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Put the average into the network."""
        if self._weights and not self._in_use:
            self._exchange()

    def on_validation_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Put the weights back."""
        if self._in_use:
            self._exchange()

    def on_train_end(self, trainer: L.Trainer, module: SaliencyModule) -> None:
        """Let go of both: from here on the module's weights are somebody else's choice."""
        self._weights, self._others = {}, {}

    def on_exception(
        self, trainer: L.Trainer, module: SaliencyModule, exception: BaseException
    ) -> None:
        """Put the weights back."""
        if self._in_use:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps and the weights themselves, without a copy."""
        weights = self._others if self._in_use else self._weights
        return {"steps": self._steps, "weights": {k: v.detach() for k, v in weights.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the steps, and the weights as soon as the network has the average."""
        self._steps, self._loaded = state_dict["steps"], state_dict["weights"]

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: SaliencyModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average in the place of the weights."""
        averages = self._weights if self._in_use else self._others
        checkpoint["state_dict"] |= {k: v.detach() for k, v in averages.items()}

    def _exchange(self) -> None:
        """Exchange weights and averages, without a copy: a checkpoint may hold both."""
        for name, weight in self._weights.items():
            other = self._others[name]
            weight.data, other.data = other.data, weight.data
        self._in_use = not self._in_use
