"""Tasks of classifiers, by name: what they learn from a batch, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import classification_loss
from learned_saliency.ops import Activation
from learned_saliency.trainers.outputs import known_targets


class Task(NamedTuple):
    """Definition of what the labels of images are to a classifier.

    Attributes:
        name: Value of ``data.task``.
        truth: Key of a batch that the classifier learns, B entries.
        loss: Function of logits (B, C) and the truth to a scalar, a mean over images.
        hits: Function of logits (B, C) and the truth to the rate of right decisions of each image,
            (B,) in [0, 1].
        activation: Function of logits to probabilities.
        exclusive: Whether an image has exactly one class; one that has none is then one whose class
            is unknown.
    """

    name: str
    truth: str
    loss: Callable[[Tensor, Tensor], Tensor]
    hits: Callable[[Tensor, Tensor], Tensor]
    activation: Activation
    exclusive: bool

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


def _right_class(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float()


def _right_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the rate of classes that are told right, present by a logit above 0."""
    return ((logits > 0) == labels).float().mean(dim=1)


#: One class per image, or any number of classes per image.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("multiclass", "label", classification_loss, _right_class, Activation.SOFTMAX, True),
        Task(
            "multilabel", "labels", classification_loss, _right_classes, Activation.SIGMOID, False
        ),
    )
}
