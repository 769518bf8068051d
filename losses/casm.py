"""Objectives of CASM's classifier and of its mask network."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from learned_saliency.losses.multilabel import classification_loss
from learned_saliency.ops import widen


def casm_classifier_loss(
    labels: Tensor, clean_logits: Tensor | None = None, masked_logits: Tensor | None = None
) -> Tensor:
    """Compute the cross-entropy on clean and on masked-out images (Zolna et al., Eq. 8).

    Args:
        labels: True classes, int64 (B,) or bool (B, C), see `classification_loss`.
        clean_logits: Logits (B, C) of the images; None leaves the term out.
        masked_logits: Logits (B, C) of the masked-out images; None leaves the term out.

    Returns:
        Scalar of at least 0: the sum of both terms, each the mean over the batch.

    Raises:
        ValueError: If both terms are left out.
    """
    terms = [
        classification_loss(logits, labels)
        for logits in (clean_logits, masked_logits)
        if logits is not None
    ]
    if not terms:
        raise ValueError("expected logits of the clean or of the masked-out images, got neither")
    return sum(terms[1:], start=terms[0])


def correctly_classified(logits: Tensor, labels: Tensor) -> Tensor:
    """Return per image whether the true class has the highest logit.

    Args:
        logits: Shape (B, C).
        labels: True classes, int64 (B,).

    Returns:
        bool (B,).
    """
    return logits.argmax(dim=1) == labels


def negative_entropy(clean_logits: Tensor, masked_logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the negative entropy of the masked-out image's classes, CASM's score (Eq. 7).

    The entropy counts only for images that are classified correctly when clean: a mask could do
    no harm to the other images.

    Args:
        clean_logits: Logits of the images, (B, C); only their order is read.
        masked_logits: Logits of the masked-out images, (B, C).
        labels: True classes, int64 (B,).

    Returns:
        sum_c p_c log p_c in nats per image, (B,), in [-log C, 0]; 0 where the clean image is
        classified wrongly. To be minimized.

    Raises:
        ValueError: If there are several classes per image, ``labels`` bool (B, C). There the score
            has no meaning: a sigmoid without evidence is near 0, where its entropy is lowest, and
            not at 1/2, so that the entropy would reward half-hidden objects.
    """
    if labels.dtype == torch.bool:
        raise ValueError(
            "the entropy score has no meaning for several classes per image, each of which has a "
            "sigmoid that is near 0 and not undecided without evidence; choose "
            "model.score=classification"
        )
    log_probs = widen(masked_logits).log_softmax(dim=1)
    entropies = -(log_probs.exp() * log_probs).sum(dim=1)
    return -entropies * correctly_classified(clean_logits, labels)


def negative_cross_entropy(clean_logits: Tensor, masked_logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the negative classification loss of the masked-out image (Eq. 2), adversarial.

    Args:
        clean_logits: Not read: all images count, also those classified wrongly when clean.
        masked_logits: Logits of the masked-out images, (B, C).
        labels: True classes, int64 (B,), or whether each image has each class, bool (B, C).

    Returns:
        log p_label per image, (B,), at most 0. To be minimized. Of several classes p is the
        sigmoid, and the mean over the image's classes is given, so that lambda keeps its meaning; 0
        where it has none. Absent classes are not read: nothing of them can be hidden.
    """
    if labels.dtype == torch.bool:
        log_probs = functional.logsigmoid(widen(masked_logits)).masked_fill(~labels, 0.0)
        return log_probs.sum(dim=1) / labels.sum(dim=1).clamp(min=1)
    return -functional.cross_entropy(widen(masked_logits), labels, reduction="none")


def mask_size_term(
    saliency: Tensor, clean_logits: Tensor, masked_logits: Tensor, labels: Tensor
) -> Tensor:
    """Compute the share of the image that a mask spares where it fools the classifier (R, Eq. 7).

    Args:
        saliency: Masks of shape (B, H, W) in [0, 1].
        clean_logits: Logits of the images, (B, C); only their order is read.
        masked_logits: Logits of the masked-out images, (B, C); only their order is read.
        labels: True classes, int64 (B,), or whether each image has each class, bool (B, C).

    Returns:
        One minus the mask's mean per image, (B,), in [0, 1], where the clean image is classified
        correctly and the masked-out image is not; 0 elsewhere. To be maximized. Of several classes
        the `hidden_rate` stands for the one.
    """
    means = widen(saliency).mean(dim=(1, 2))
    if labels.dtype == torch.bool:
        fooled = hidden_rate(clean_logits, masked_logits, labels)
    else:
        correct = correctly_classified(clean_logits, labels)
        fooled = correct & ~correctly_classified(masked_logits, labels)
    return (fooled.to(means.dtype) - means).relu()


def hidden_rate(clean_logits: Tensor, masked_logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the rate of an image's classes that a mask hides.

    A class is hidden that is told present in the clean image, by a logit above 0, and not in the
    masked-out image. With one class per image it is 1 or 0, as *fooled* is in Eq. 7.

    Args:
        clean_logits: Logits of the images, (B, C).
        masked_logits: Logits of the masked-out images, (B, C).
        labels: Whether each image has each class, bool (B, C).

    Returns:
        float (B,) in [0, 1]; 0 for an image without a class.
    """
    hidden = labels & (clean_logits > 0) & ~(masked_logits > 0)
    return hidden.sum(dim=1) / labels.sum(dim=1).clamp(min=1)


class CASMLossTerms(NamedTuple):
    """Scalars of one batch, each with its weight and sign; ``total`` is their sum."""

    total: Tensor
    score: Tensor
    size: Tensor

    def parts(self) -> dict[str, Tensor]:
        """Return the terms by name, without the total that they add up to."""
        return {"score": self.score, "size": self.size}


class CASMLoss(nn.Module):
    """Objective of CASM's mask network, minimized (Zolna et al., Eq. 7).

    The objective is the mean over the batch of the score, minus lambda times the mean of
    `mask_size_term`.

    Note:
        The released code finds the fooled images as ``(correct + mistaken).eq(2)``, a sum of
        booleans that never is 2 on current torch, which switches the size term off. Here the
        conditions are combined logically, as they were meant.

    Args:
        size_weight: lambda in the paper, at least 0; the larger, the smaller the masks.
        score: ``score(clean_logits, masked_logits, labels)`` per image, to be minimized:
            `negative_entropy` or `negative_cross_entropy`.
        reference_classes: Number of classes that ``size_weight`` was chosen for, at least 2. For C
            classes ``size_weight`` is multiplied by log C / log ``reference_classes``, as the
            largest entropy shrinks. None takes ``size_weight`` as it is.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        size_weight: float,
        score: Callable[[Tensor, Tensor, Tensor], Tensor] = negative_entropy,
        reference_classes: int | None = None,
    ) -> None:
        super().__init__()
        if not size_weight >= 0:
            raise ValueError(f"size_weight must be at least 0, got {size_weight}")
        if reference_classes is not None and reference_classes < 2:
            raise ValueError(f"reference_classes must be at least 2, got {reference_classes}")
        self.size_weight = size_weight
        self.score = score
        self.reference_classes = reference_classes

    def forward(
        self, saliency: Tensor, clean_logits: Tensor, masked_logits: Tensor, labels: Tensor
    ) -> CASMLossTerms:
        """Compute the terms of a batch.

        Args:
            saliency: Masks of shape (B, H, W) in [0, 1].
            clean_logits: Logits of the images, (B, C).
            masked_logits: Logits, (B, C), of the images multiplied by one minus the mask; they
                carry the score's gradient to the mask.
            labels: True classes, int64 (B,), or whether each image has each class, bool (B, C).

        Returns:
            The total and its terms.

        Raises:
            ValueError: If the shapes do not fit.
        """
        _check(saliency, clean_logits, masked_logits, labels)
        weight = self.size_weight
        if self.reference_classes is not None:
            weight *= math.log(clean_logits.shape[1]) / math.log(self.reference_classes)
        score = self.score(clean_logits, masked_logits, labels).mean()
        size = -weight * mask_size_term(saliency, clean_logits, masked_logits, labels).mean()
        return CASMLossTerms(score + size, score, size)


def _check(saliency: Tensor, clean: Tensor, masked: Tensor, labels: Tensor) -> None:
    wanted = clean.shape if labels.dtype == torch.bool else clean.shape[:1]
    fits = clean.ndim == 2 and clean.shape == masked.shape and labels.shape == wanted
    if not fits or saliency.ndim != 3 or len(saliency) != len(labels):
        raise ValueError(
            "expected saliency (B, H, W), logits (B, C) twice and labels (B,) or bool (B, C), got"
            f" {tuple(saliency.shape)}, {tuple(clean.shape)}, {tuple(masked.shape)} and"
            f" {tuple(labels.shape)}"
        )
