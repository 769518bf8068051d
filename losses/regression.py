"""Loss of a network that tells values."""

import torch.nn.functional as F
from torch import Tensor

from learned_saliency.ops import widen


def standardized_error(predicted: Tensor, values: Tensor, deviations: Tensor) -> Tensor:
    """Compute Huber's loss of values in standard deviations, summed over values, mean over images.

    Half the squared error up to one standard deviation, the error less one half above. The gradient
    on a standardized value is at most 1 / B, as that of a cross-entropy on a logit: learning rates
    keep their meaning, where a squared error takes a network from random weights apart.

    Args:
        predicted: Values told, shape (B, T), in their units.
        values: True values (B, T).
        deviations: Standard deviation of each value among the training images, (T,), above 0.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: If the shapes differ.
    """
    if predicted.shape != values.shape:
        raise ValueError(f"expected values of {tuple(predicted.shape)}, got {tuple(values.shape)}")
    wide = widen(predicted)
    errors = F.huber_loss(wide / deviations, values.to(wide.dtype) / deviations, reduction="none")
    return errors.sum(dim=1).mean()
