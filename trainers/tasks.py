"""Tasks of classifiers, by name: what they learn from a batch, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import multilabel_cross_entropy, standardized_error
from learned_saliency.ops import Activation, widen

#: Function of scores (B, C) and the truth of B images.
OfScores = Callable[[Tensor, Tensor], Tensor]


class Task(NamedTuple):
    """Definition of what the labels of images are to a classifier.

    Attributes:
        name: Value of ``data.task``.
        truth: Key of a batch that the classifier learns, B entries.
        loss: Function, given the network, to the function of scores (B, C) and the truth to a
            scalar, a mean over images.
        accuracy: Function of scores (B, C) and the truth to the rate of right decisions of each
            image, (B,) in [0, 1]; None where there are no decisions.
        activation: Function of logits to probabilities; None where scores are no logits of classes.
    """

    name: str
    truth: str
    loss: Callable[[nn.Module], OfScores]
    accuracy: OfScores | None
    activation: Activation | None

    def truth_of(self, batch: WSOLBatch) -> Tensor:
        """Take what the classifier learns out of a batch."""
        return batch[self.truth]


def _of_any_network(loss: OfScores) -> Callable[[nn.Module], OfScores]:
    return lambda network: loss


def _in_deviations(network: nn.Module) -> OfScores:
    """Return the error of values in the standard deviations that the network has learned."""
    return lambda scores, values: standardized_error(scores, values, network.answers.factors)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(widen(logits), labels)


def _right_class(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float()


def _right_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the rate of classes that are told right, present by a logit above 0."""
    return ((logits > 0) == labels).float().mean(dim=1)


_ONE_CLASS = "label", _of_any_network(_cross_entropy), _right_class, Activation.SOFTMAX
_CLASSES = "labels", _of_any_network(multilabel_cross_entropy), _right_classes, Activation.SIGMOID

#: One class per image; any number of classes per image; one of two, by one logit; or values.
TASKS: dict[str, Task] = {
    "multiclass": Task("multiclass", *_ONE_CLASS),
    "multilabel": Task("multilabel", *_CLASSES),
    "binary": Task("binary", *_ONE_CLASS),
    "regression": Task("regression", "values", _in_deviations, None, None),
}
