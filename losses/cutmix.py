"""Cross-entropy of images that were mixed of two."""

from torch import Tensor

from learned_saliency.losses.multilabel import classification_loss


def mixed_cross_entropy(
    logits: Tensor, labels: Tensor, partner_labels: Tensor, share: float
) -> Tensor:
    """Compute the cross-entropy with the mixed label of CutMix (Yun et al. 2019, Eq. 1).

    A cross-entropy is linear in its label, the binary one of several classes, too, so that of
    y~ = lambda y_A + (1 - lambda) y_B is

        lambda CE(y_A) + (1 - lambda) CE(y_B).

    Args:
        logits: Class scores of the mixed images, (B, C).
        labels: Classes y_A of the images, int64 (B,) or bool (B, C), see `classification_loss`.
        partner_labels: Classes y_B of what the boxes show, in the same form.
        share: Part lambda of the images outside of the boxes, in [0, 1].

    Returns:
        The mean over the batch, a scalar, at least float32.
    """
    own, other = (classification_loss(logits, classes) for classes in (labels, partner_labels))
    return share * own + (1 - share) * other
