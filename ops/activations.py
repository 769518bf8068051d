"""Probabilities of classes from logits: of classes that exclude each other, and of others."""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor
from torch.nn import functional

from learned_saliency.ops.precision import widen


class Activation(StrEnum):
    """Function of logits (..., C) to the probabilities of the classes.

    ``SOFTMAX`` is for classes of which an image has exactly one, ``SIGMOID`` for classes each of
    which is there or not, ``IDENTITY`` for values that are no logits, of which there are no
    probabilities: they stay as they are. A classifier declares its own as ``activation``, a member
    of this class; without one it is softmax.
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    IDENTITY = "identity"

    def probabilities(self, logits: Tensor) -> Tensor:
        """Compute the probabilities (..., C) in [0, 1], at least float32; values as they are."""
        wide = widen(logits)
        if self is Activation.IDENTITY:
            return wide
        return wide.softmax(dim=-1) if self is Activation.SOFTMAX else wide.sigmoid()

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Compute the logarithms (..., C) of the probabilities, at most 0, at least float32.

        Raises:
            ValueError: If there are no probabilities.
        """
        wide = widen(logits)
        if self is Activation.IDENTITY:
            raise ValueError("values have no probabilities")
        if self is Activation.SOFTMAX:
            return wide.log_softmax(dim=-1)
        return functional.logsigmoid(wide)

    def decides(self, values: Tensor, classes: Tensor, *, probabilities: bool = False) -> Tensor:
        """Tell whether a classifier decides on the class that each row is about.

        It decides on the most probable of exclusive classes, and on each class above 1/2 of others.

        Args:
            values: Logits (B, C).
            classes: Int64 (B,) in [-1, C); nothing decides on -1.
            probabilities: Whether the values are probabilities instead.

        Returns:
            bool (B,).
        """
        if self is Activation.SOFTMAX:
            return values.argmax(dim=1) == classes
        own = values.gather(1, classes.clamp(min=0)[:, None])[:, 0]
        return (own > (0.5 if probabilities else 0.0)) & (classes >= 0)


def activation_of(classifier: object) -> Activation:
    """Return what a classifier declares as ``activation``; softmax where it is silent.

    Networks have attributes of this name that are other things, such as a ReLU: these say nothing.
    """
    found = getattr(classifier, "activation", None)
    return found if isinstance(found, Activation) else Activation.SOFTMAX
