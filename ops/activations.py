"""Probabilities of classes from logits: of classes that exclude each other, and of others."""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor
from torch.nn import functional

from learned_saliency.ops.precision import widen


class Activation(StrEnum):
    """Function of logits (..., C) to the probabilities of the classes.

    ``SOFTMAX`` is for classes of which an image has exactly one, ``SIGMOID`` for classes each of
    which is there or not. A classifier declares its own as ``activation``; without one it is
    softmax.
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"

    def probabilities(self, logits: Tensor) -> Tensor:
        """Compute the probabilities (..., C) in [0, 1], at least float32."""
        wide = widen(logits)
        return wide.softmax(dim=-1) if self is Activation.SOFTMAX else wide.sigmoid()

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Compute the logarithms (..., C) of the probabilities, at most 0, at least float32."""
        wide = widen(logits)
        if self is Activation.SOFTMAX:
            return wide.log_softmax(dim=-1)
        return functional.logsigmoid(wide)


def activation_of(classifier: object) -> Activation:
    """Return what a classifier declares as ``activation``; softmax where it is silent."""
    return getattr(classifier, "activation", Activation.SOFTMAX)
