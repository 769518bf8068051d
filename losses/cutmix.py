"""Cross-entropy of images that were mixed of two."""

import torch.nn.functional as F
from torch import Tensor

from learned_saliency.ops import widen


def mixed_cross_entropy(
    logits: Tensor, labels: Tensor, partner_labels: Tensor, share: float
) -> Tensor:
    """Compute the cross-entropy with the mixed label of CutMix (Yun et al. 2019, Eq. 1).

    A cross-entropy is linear in its label, so that of y~ = lambda y_A + (1 - lambda) y_B is

        lambda CE(y_A) + (1 - lambda) CE(y_B).

    Args:
        logits: Class scores of the mixed images, (B, C).
        labels: Classes y_A of the images, int64 (B,).
        partner_labels: Classes y_B of what the boxes show, int64 (B,).
        share: Part lambda of the images outside of the boxes, in [0, 1].

    Returns:
        The mean over the batch, a scalar, at least float32.
    """
    own, other = (F.cross_entropy(widen(logits), classes) for classes in (labels, partner_labels))
    return share * own + (1 - share) * other
