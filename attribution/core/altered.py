"""Base of methods that run the classifier on altered images or activations."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.joint import JointMethod
from learned_saliency.attribution.core.method import ChannelWeightedMethod
from learned_saliency.attribution.core.query import Query

# Numbers in a batch of inputs: on CPUs what caches hold is fast, accelerators want to be filled.
_NUMBERS = {"cpu": 8 * 3 * 224 * 224}
_NUMBERS_OF_ACCELERATORS = 64 * 3 * 224 * 224


class AlteringMethod(JointMethod, ChannelWeightedMethod):
    """A method that finds channel weights from runs on altered images or activations.

    What is altered does not depend on the class, so that the same runs serve all classes of an
    image. A subclass supplies `_class_coefficients`.

    Args:
        batch_size: Altered images or activations in one run, at least 1; bounds memory. None for
            as many as the device is fast with, see `run_size`.
        **options: See `ChannelWeightedMethod`.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """

    def __init__(self, *, batch_size: int | None = None, **options: object) -> None:
        super().__init__(**options)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size

    def _coefficients(self, query: Query) -> Tensor:
        return self._class_coefficients(query, query.targets[:, None])[:, 0]

    def _class_maps(self, query: Query, targets: Tensor) -> Tensor:
        weights = self._class_coefficients(query, targets)
        return torch.stack([self._weighted(query.features, one) for one in weights.unbind(1)], 1)

    def _class_coefficients(self, query: Query, targets: Tensor) -> Tensor:
        """Compute the channel weights (B, T, K) of classes (B, T)."""
        raise NotImplementedError

    def _run_size(self, inputs: Tensor) -> int:
        """Return how many inputs like these (B, ...) go into one run."""
        return self.batch_size or run_size(inputs[0].numel(), inputs.device)


def run_size(numbers: int, device: torch.device) -> int:
    """Choose how many inputs of a network go into one run without gradients.

    Processors are fastest while a run's activations stay in their caches, and with more than a few
    inputs where these are small; accelerators need many to be busy.

    Args:
        numbers: Numbers in one input: 150,528 of an image of 224 pixels.
        device: The device that runs.

    Returns:
        At least 1: at 224 pixels 8 on a CPU, 64 on an accelerator.
    """
    most = _NUMBERS.get(device.type, _NUMBERS_OF_ACCELERATORS)
    return max(1, most // numbers)
