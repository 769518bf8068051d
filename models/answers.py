"""Scores made of the rows of a classifier's last layer, where a row is not a class each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learned_saliency.ops import widen


class Answers(nn.Module):
    """Scores of a classifier as multiples of the R rows of its last layer.

    Score c is ``factors[c] * z[rows[c]] + shifts[c]`` of the pooled rows z. The same holds for the
    class maps, which are therefore those of the scores.

    Args:
        rows: Row of each score, C integers in [0, R).

    Attributes:
        num_rows: Number R of rows.
        has_classes: Whether the scores are logits of classes, instead of values.
        factors: Shape (C,).
        shifts: Shape (C,).
    """

    rows: Tensor
    factors: Tensor
    shifts: Tensor
    has_classes = True

    def __init__(self, rows: list[int]) -> None:
        super().__init__()
        self.num_rows = 1 + max(rows)
        self.register_buffer("rows", torch.tensor(rows), persistent=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Compute the scores (B, C), at least float32, from pooled rows (B, R)."""
        return widen(pooled)[:, self.rows] * self.factors + self.shifts

    def weight_of_scores(self, weight: Tensor) -> Tensor:
        """Turn the layer's weights (R, ...) into those of the scores (C, ...)."""
        return weight[self.rows] * self.factors.view(-1, *[1] * (weight.ndim - 1))

    def bias_of_scores(self, bias: Tensor) -> Tensor:
        """Turn the layer's bias (R,) into that of the scores (C,)."""
        return bias[self.rows] * self.factors + self.shifts


class SingleLogit(Answers):
    """Two classes of one logit z: -z/2 and z/2, whose softmax is 1 - sigmoid(z) and sigmoid(z).

    Their cross-entropy is the binary cross-entropy of z. A network with one logit from outside this
    project counts as the same, see `attribution.split`.

    Args:
        num_classes: Number of classes; 2.

    Raises:
        ValueError: If there are more or fewer classes.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes != 2:
            raise ValueError(
                f"data.task=binary needs the two classes 0 and 1, and there are {num_classes}: "
                "leave data.task out"
            )
        super().__init__([0, 0])
        self.register_buffer("factors", torch.tensor([-0.5, 0.5]), persistent=False)
        self.register_buffer("shifts", torch.zeros(2), persistent=False)


class Values(Answers):
    """Values of a regression in their own units: rows times standard deviation, plus mean.

    The layer so learns values of mean 0 and deviation 1 whatever their units are. Mean and
    deviation are those of the training images; they belong to the state, so that a checkpoint and
    an exported graph give values in their units.

    Args:
        num_values: Number T of values of an image, at least 1.
    """

    has_classes = False

    def __init__(self, num_values: int) -> None:
        super().__init__(list(range(num_values)))
        self.register_buffer("factors", torch.ones(num_values))
        self.register_buffer("shifts", torch.zeros(num_values))

    def set_units(self, values: Tensor) -> None:
        """Take mean and standard deviation of the values (N, T) of the training images.

        Raises:
            ValueError: If a value is the same for all images.
        """
        wide = values.double()
        deviations = wide.std(dim=0, correction=0)
        if not bool((deviations > 0).all()):
            constant = int((deviations > 0).int().argmin())
            raise ValueError(f"value {constant} is the same for all training images")
        self.factors.copy_(deviations)
        self.shifts.copy_(wide.mean(dim=0))
