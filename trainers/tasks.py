"""Tasks of classifiers, by name: what they learn from a batch, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import classification_loss, standardized_error
from learned_saliency.metrics import EXCLUSIVE, PRESENCE, VALUES
from learned_saliency.ops import Activation
from learned_saliency.trainers.outputs import known_targets

#: Function of scores (B, C) and the truth of B images.
OfScores = Callable[[Tensor, Tensor], Tensor]


class Task(NamedTuple):
    """Definition of what the labels of images are to a classifier.

    Attributes:
        name: Value of ``data.task``.
        truth: Key of a batch that the classifier learns, B entries.
        loss: Function of scores (B, C) and the truth to a scalar, a mean over images; of a task
            that was not bound to a network by `of`, in the network's own units.
        hits: Function of logits (B, C) and the truth to the rate of right decisions of each image,
            (B,) in [0, 1]; None where there are no decisions.
        activation: Function of logits to probabilities.
        need: What metrics of a classifier on such images name among their needs.
        exclusive: Whether an image has exactly one class; one that has none is then one whose class
            is unknown.
        bound: Function of a network to the loss of its scores, where that depends on the network.
    """

    name: str
    truth: str
    loss: OfScores
    hits: OfScores | None
    activation: Activation
    need: str
    exclusive: bool = True
    bound: Callable[[nn.Module], OfScores] | None = None

    def of(self, network: nn.Module) -> Task:
        """Return the task of a network."""
        return self if self.bound is None else self._replace(loss=self.bound(network))

    def truth_of(self, batch: WSOLBatch) -> Tensor:
        """Take what the classifier learns out of a batch."""
        return batch[self.truth]

    def known_truth(self, batch: WSOLBatch, logits: Tensor) -> Tensor:
        """Take what the classifier learns; an unknown class is what logits (B, C) predict."""
        truth = self.truth_of(batch)
        return known_targets(truth, logits) if self.exclusive else truth

    def present(self, batch: WSOLBatch, logits: Tensor) -> Tensor:
        """Tell whether each image has each class, bool (B, C), by `known_truth`."""
        truth = self.known_truth(batch, logits)
        return F.one_hot(truth, logits.shape[1]).bool() if self.exclusive else truth


def _in_deviations(network: nn.Module) -> OfScores:
    """Return the error of values in the standard deviations that the network has learned."""
    return lambda scores, values: standardized_error(scores, values, network.answers.factors)


def _in_units(scores: Tensor, values: Tensor) -> Tensor:
    return standardized_error(scores, values, scores.new_ones(scores.shape[1]))


def _right_class(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float()


def _right_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the rate of classes that are told right, present by a logit above 0."""
    return ((logits > 0) == labels).float().mean(dim=1)


_ONE_CLASS = "label", classification_loss, _right_class, Activation.SOFTMAX, EXCLUSIVE
_CLASSES = "labels", classification_loss, _right_classes, Activation.SIGMOID, PRESENCE
_VALUES = "values", _in_units, None, Activation.IDENTITY, VALUES

#: One class per image; any number of classes per image; one of two, by one logit; or values.
TASKS: dict[str, Task] = {
    "multiclass": Task("multiclass", *_ONE_CLASS),
    "multilabel": Task("multilabel", *_CLASSES, exclusive=False),
    "binary": Task("binary", *_ONE_CLASS),
    "regression": Task("regression", *_VALUES, bound=_in_deviations),
}
