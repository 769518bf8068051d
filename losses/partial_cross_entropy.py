"""Partial cross-entropy: on the pixels that have a pseudo-label."""

import torch
from torch import Tensor

from learned_saliency.ops import widen

IGNORE = -255
"""Pseudo-label of a pixel that the loss ignores."""


def partial_cross_entropy(scores: Tensor, pseudo_labels: Tensor) -> Tensor:
    """Average the cross-entropy over the labeled pixels of the batch (F-CAM, H in Eq. 3).

    Args:
        scores: Decoder output before the softmax, shape (B, R, H, W), any real numbers, R >= 2;
            channel 0 is background, the others foreground, one of all classes in the paper.
        pseudo_labels: Labels of shape (B, H, W), integer: the channel, ``IGNORE`` elsewhere.

    Returns:
        Scalar >= 0 in nats: the mean over all labeled pixels of the batch, so an image with more
        labeled pixels weighs more. Zero, with zero gradients, where no pixel is labeled.

    Raises:
        TypeError: If ``scores`` is not floating point or ``pseudo_labels`` not integer.
        ValueError: If the shapes do not fit or a label is neither a channel nor ``IGNORE``.
    """
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating point, got {scores.dtype}")
    if pseudo_labels.is_floating_point() or pseudo_labels.dtype == torch.bool:
        raise TypeError(f"pseudo_labels must be integer, got {pseudo_labels.dtype}")
    if scores.dim() != 4 or scores.shape[1] < 2:
        raise ValueError(f"scores must be (B, R, H, W), R >= 2, got shape {tuple(scores.shape)}")
    if pseudo_labels.shape != scores.shape[:1] + scores.shape[2:]:
        shapes = f"{tuple(pseudo_labels.shape)} for scores {tuple(scores.shape)}"
        raise ValueError(f"pseudo_labels must be (B, H, W), got {shapes}")
    labeled = (pseudo_labels >= 0) & (pseudo_labels < scores.shape[1])
    if not bool((labeled | (pseudo_labels == IGNORE)).all()):
        known = ", ".join(map(str, range(scores.shape[1])))
        raise ValueError(f"pseudo_labels must be {known} or {IGNORE} (ignored)")
    log_probs = widen(scores).log_softmax(dim=1)
    if scores.shape[1] == 2:
        picked = torch.where(pseudo_labels == 1, log_probs[:, 1], log_probs[:, 0])  # (B, H, W)
    else:
        picked = log_probs.gather(1, pseudo_labels.clamp(min=0)[:, None].long())[:, 0]
    return -picked.masked_fill(~labeled, 0.0).sum() / labeled.sum().clamp(min=1)
