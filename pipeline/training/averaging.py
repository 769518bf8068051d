"""Moving average of a stage's weights, as its configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping

from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import Checkpoint, check_finite
from learned_saliency.trainers import SaliencyModule, WeightAverage


def average(model: DictConfig) -> list[WeightAverage]:
    """Make the callback of the moving average of a stage's weights, if there is to be one.

    Args:
        model: The stage's configuration; ``ema_decay`` is the average's.
    """
    decay = model.get("ema_decay")  # runs of before have no such key
    return [] if decay is None else [WeightAverage(decay)]


def check_average(resumed: Checkpoint, module: SaliencyModule, model: DictConfig) -> None:
    """Check that a checkpoint holds the weights that a training goes on with beside the average.

    Args:
        resumed: The checkpoint to go on from.
        module: The module of its stage.
        model: The stage's configuration.

    Raises:
        UserError: If a weight is missing, of another shape, NaN or infinite.
    """
    for callback in average(model):
        state = resumed.content.get("callbacks", {}).get(callback.state_key)
        weights = state.get("weights") if isinstance(state, Mapping) else None
        wanted = {name: tensor.shape for name, tensor in callback.averaged(module).items()}
        if not isinstance(weights, Mapping) or _shapes(weights) != wanted:
            raise UserError(
                f"{resumed.path}: does not hold the weights beside their average (ema_decay) that "
                "its training goes on with; it is damaged."
            )
        check_finite(dict(weights), f"{resumed.path}")


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, object]:
    return {name: getattr(weight, "shape", None) for name, weight in weights.items()}
