"""Losses of a classifier of images with one class, and with any number of classes, each."""

import torch
import torch.nn.functional as F
from torch import Tensor

from learned_saliency.ops import widen


def multilabel_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the binary cross-entropy of each class, summed over classes, mean over images.

    The gradient on a logit y_c is (sigmoid(y_c) - t_c) / B, t_c in {0, 1}, as that of the
    cross-entropy of exclusive classes is (softmax(y)_c - t_c) / B: learning rates keep their
    meaning, where a mean over the C classes would make steps C times shorter.

    Args:
        logits: Class scores of shape (B, C).
        labels: Whether each image has each class, bool (B, C).

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: If the shapes differ.
    """
    if logits.shape != labels.shape:
        raise ValueError(f"expected labels of {tuple(logits.shape)}, got {tuple(labels.shape)}")
    wide = widen(logits)
    losses = F.binary_cross_entropy_with_logits(wide, labels.to(wide.dtype), reduction="none")
    return losses.sum(dim=1).mean()


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy of the labels in either form that they come in.

    Args:
        logits: Class scores of shape (B, C).
        labels: Classes, int64 (B,) in 0..C-1; or, for images with any number of classes, whether
            each image has each class, bool (B, C).

    Returns:
        The cross-entropy, or `multilabel_cross_entropy`, a mean over images.
    """
    if labels.dtype == torch.bool:
        return multilabel_cross_entropy(logits, labels)
    return F.cross_entropy(widen(logits), labels)
