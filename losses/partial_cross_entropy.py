"""Partial cross-entropy: on the pixels that have a pseudo-label."""

import torch
from torch import Tensor

from learned_saliency.ops import widen

IGNORE = -255
"""Pseudo-label of a pixel that the loss ignores."""


def partial_cross_entropy(scores: Tensor, pseudo_labels: Tensor) -> Tensor:
    """Average the cross-entropy over the labeled pixels of the batch (F-CAM, H in Eq. 3).

    Args:
        scores: Decoder output before the softmax, shape (B, 2, H, W), any real numbers; channel 0
            is background, channel 1 foreground.
        pseudo_labels: Labels of shape (B, H, W), integer: 1 foreground, 0 background, ``IGNORE``
            elsewhere.

    Returns:
        Scalar >= 0 in nats: the mean over all labeled pixels of the batch, so an image with more
        labeled pixels weighs more. Zero, with zero gradients, where no pixel is labeled.

    Raises:
        TypeError: If ``scores`` is not floating point or ``pseudo_labels`` not integer.
        ValueError: If the shapes do not fit or a label is none of the three.
    """
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating point, got {scores.dtype}")
    if pseudo_labels.is_floating_point() or pseudo_labels.dtype == torch.bool:
        raise TypeError(f"pseudo_labels must be integer, got {pseudo_labels.dtype}")
    if scores.dim() != 4 or scores.shape[1] != 2:
        raise ValueError(f"scores must be (B, 2, H, W), got shape {tuple(scores.shape)}")
    if pseudo_labels.shape != scores.shape[:1] + scores.shape[2:]:
        shapes = f"{tuple(pseudo_labels.shape)} for scores {tuple(scores.shape)}"
        raise ValueError(f"pseudo_labels must be (B, H, W), got {shapes}")
    foreground, background = pseudo_labels == 1, pseudo_labels == 0
    labeled = foreground | background
    if not bool((labeled | (pseudo_labels == IGNORE)).all()):
        raise ValueError(f"pseudo_labels must be 0, 1 or {IGNORE} (ignored)")
    log_probs = widen(scores).log_softmax(dim=1)
    picked = torch.where(foreground, log_probs[:, 1], log_probs[:, 0])  # (B, H, W)
    return -picked.masked_fill(~labeled, 0.0).sum() / labeled.sum().clamp(min=1)
