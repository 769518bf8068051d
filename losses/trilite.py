"""Loss of TriLite's two branches."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from learned_saliency.losses.multilabel import classification_loss
from learned_saliency.ops import widen


class TriLiteLossTerms(NamedTuple):
    """Scalars of one batch, each with its weight."""

    total: Tensor
    classification: Tensor
    foreground: Tensor
    background: Tensor

    def parts(self) -> dict[str, Tensor]:
        """Return the terms by name, without the total that they add up to."""
        return {name: value for name, value in self._asdict().items() if name != "total"}


class TriLiteLoss(nn.Module):
    """Cross-entropy of image and foreground, and the adversarial loss of the background.

    Sabaghi and Oramas, CVPR 2026. The text that was at hand names the three terms but gives no
    weights; by default they count alike.

    Args:
        foreground_weight: Weight of the foreground's cross-entropy, at least 0.
        background_weight: Weight of `adversarial_background`, at least 0.

    Raises:
        ValueError: If a weight is negative.
    """

    def __init__(self, foreground_weight: float = 1.0, background_weight: float = 1.0) -> None:
        super().__init__()
        for name, weight in (("foreground", foreground_weight), ("background", background_weight)):
            if not weight >= 0:
                raise ValueError(f"{name}_weight must be at least 0, got {weight}")
        self.foreground_weight = foreground_weight
        self.background_weight = background_weight

    def forward(
        self, logits: Tensor, foreground: Tensor, background: Tensor, labels: Tensor
    ) -> TriLiteLossTerms:
        """Compute the terms of a batch, means over its images.

        Args:
            logits: Class scores of the images, (B, C).
            foreground: Class scores of the foreground's features, (B, C).
            background: Class scores of the background's features, (B, C).
            labels: Classes, int64 (B,) or bool (B, C), see `classification_loss`.

        Raises:
            ValueError: If there are fewer than two classes.
        """
        classification = classification_loss(logits, labels)
        of_foreground = classification_loss(foreground, labels)
        of_background = adversarial_background(background, labels)
        terms = (
            classification,
            self.foreground_weight * of_foreground,
            self.background_weight * of_background,
        )
        return TriLiteLossTerms(sum(terms), *terms)


def adversarial_background(logits: Tensor, labels: Tensor) -> Tensor:
    """Penalize the class's probability in the background: the mean of -log(1 - p_y).

    p is the softmax of the background's class scores. 1 - p_y is the sum of the other classes'
    probabilities, whose logarithm is finite however large the score of the class is. For images
    with any number of classes p is the sigmoid, and the penalties of an image's classes add up.

    Args:
        logits: Class scores of the background's features, (B, C).
        labels: Classes y, int64 (B,), or whether each image has each class, bool (B, C).

    Returns:
        A scalar of at least 0, in at least float32.

    Raises:
        ValueError: If there are fewer than two classes that exclude each other.
    """
    if labels.dtype == torch.bool:
        penalties = -functional.logsigmoid(-widen(logits))
        return penalties.masked_fill(~labels, 0.0).sum(dim=1).mean()
    if logits.shape[1] < 2:
        raise ValueError(f"the background's loss needs at least 2 classes, got {logits.shape[1]}")
    log_probs = widen(logits).log_softmax(1)
    own = functional.one_hot(labels, logits.shape[1]).bool()
    return -torch.logsumexp(log_probs.masked_fill(own, -torch.inf), 1).mean()
