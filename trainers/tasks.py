"""Tasks of classifiers, by name: what they learn from a batch, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from learned_saliency.datamodules import WSOLBatch
from learned_saliency.losses import multilabel_cross_entropy
from learned_saliency.metrics import EXCLUSIVE, PRESENCE
from learned_saliency.ops import Activation, widen


class Task(NamedTuple):
    """Definition of what the labels of images are to a classifier.

    Attributes:
        name: Value of ``data.task``.
        truth: Key of a batch that the classifier learns, B entries.
        loss: Function of logits (B, C) and the truth to a scalar, a mean over images.
        hits: Function of logits (B, C) and the truth to the rate of right decisions of each image,
            (B,) in [0, 1].
        activation: Function of logits to probabilities.
        need: What metrics of a classifier on such images name among their needs.
    """

    name: str
    truth: str
    loss: Callable[[Tensor, Tensor], Tensor]
    hits: Callable[[Tensor, Tensor], Tensor]
    activation: Activation
    need: str

    def truth_of(self, batch: WSOLBatch) -> Tensor:
        """Take what the classifier learns out of a batch."""
        return batch[self.truth]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(widen(logits), labels)


def _right_class(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).float()


def _right_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the rate of classes that are told right, present by a logit above 0."""
    return ((logits > 0) == labels).float().mean(dim=1)


#: One class per image, or any number of classes per image.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("multiclass", "label", _cross_entropy, _right_class, Activation.SOFTMAX, EXCLUSIVE),
        Task(
            "multilabel",
            "labels",
            multilabel_cross_entropy,
            _right_classes,
            Activation.SIGMOID,
            PRESENCE,
        ),
    )
}
