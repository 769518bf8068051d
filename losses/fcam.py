"""Pixel alignment loss of F-CAM."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from learned_saliency.losses.log_barrier import BarrierTemperature
from learned_saliency.losses.partial_cross_entropy import partial_cross_entropy
from learned_saliency.losses.size_constraint import size_constraint
from learned_saliency.ops import widen


class FCAMLossTerms(NamedTuple):
    """Scalars of one batch, each with its weight; None for a term that is switched off."""

    total: Tensor
    seeds: Tensor
    crf: Tensor | None
    size: Tensor | None

    def parts(self) -> dict[str, Tensor]:
        """Return the active terms by name, without the total that they add up to."""
        named = {"seeds": self.seeds, "crf": self.crf, "size": self.size}
        return {name: value for name, value in named.items() if value is not None}


class FCAMLoss(nn.Module):
    """Weighted sum of partial cross-entropy, CRF and size terms (F-CAM, Eq. 3).

    The rows of Tab. D.1 are: SR ``crf=None, size_weight=None``; SR + CRF ``size_weight=None``;
    SR + ASC ``crf=None``; and SR + ASC + CRF with all three terms.

    Departures from Eq. 3: the classification term is left out, since it is constant for a frozen
    classifier; the partial cross-entropy is a mean over the labeled pixels, as in the released
    code, where the equation has a sum; and this mean is zero for a batch without labeled pixels,
    where the released code gives NaN.

    With several classes per image (not in the paper) a region that an image does not have, the
    foreground of an image without a class or that of an absent class, is not asked to be large.
    Where each class has a foreground of its own, the softmax is over background and C classes: a
    pixel shows one of them, so that seeds of a present class, and of the background, push all
    absent classes down, and what is said of the two regions of Eq. 3 holds for background and
    present classes. In the CRF term the absent classes are one region together, which keeps it as
    cheap as the image has classes.

    Args:
        seed_weight: Weight of the partial cross-entropy, >= 0; alpha in the paper, 1 or 0.1 there.
        size_weight: Weight of the size constraint, >= 0, or None to switch it off.
        crf: ``crf(probabilities (B, R, H, W), images (B, 3, H, W) in 0..255)`` to a scalar that
            carries its weight (lambda in the paper) already, or None to switch it off.
        temperature: The size constraint's t, F-CAM's schedule by default. The trainer calls
            ``temperature.step()`` after each epoch.

    Raises:
        ValueError: If a weight is negative.
    """

    def __init__(
        self,
        seed_weight: float = 1.0,
        size_weight: float | None = 0.1,
        crf: Callable[[Tensor, Tensor], Tensor] | None = None,
        temperature: BarrierTemperature | None = None,
    ) -> None:
        super().__init__()
        if not seed_weight >= 0:
            raise ValueError(f"seed_weight must be at least 0, got {seed_weight}")
        if size_weight is not None and not size_weight >= 0:
            raise ValueError(f"size_weight must be at least 0 or None, got {size_weight}")
        self.seed_weight = seed_weight
        self.size_weight = size_weight
        self.crf = crf
        self.temperature = BarrierTemperature() if temperature is None else temperature

    def forward(
        self,
        scores: Tensor,
        pseudo_labels: Tensor,
        images: Tensor | None = None,
        present: Tensor | None = None,
    ) -> FCAMLossTerms:
        """Compute the terms of a batch.

        Args:
            scores: Decoder output before the softmax, shape (B, 1 + F, H, W); channel 0 is
                background, the others F foregrounds, 1 or one per class.
            pseudo_labels: Labels of shape (B, H, W), integer: a channel or ``IGNORE``.
            images: The images in 0..255, shape (B, 3, H, W); needed by the CRF term alone.
            present: Whether an image has each foreground, bool (B, F); None for all.

        Returns:
            The total and its terms, finite also where no pixel is labeled or a map is empty.

        Raises:
            TypeError: If ``scores`` is not floating point or ``pseudo_labels`` not integer.
            ValueError: If shapes do not fit, a label is unknown, or the CRF term has no images.
        """
        seeds = self.seed_weight * partial_cross_entropy(scores, pseudo_labels)
        probabilities = widen(scores).softmax(dim=1)
        crf = size = None
        if self.crf is not None:
            if images is None:
                raise ValueError("the CRF term needs images of shape (B, 3, H, W) in 0..255")
            crf = self.crf(present_regions(probabilities, present), images)
        if self.size_weight is not None:
            counted = None
            if present is not None:
                counted = torch.cat([torch.ones_like(present[:, :1]), present], dim=1)
            size = self.size_weight * size_constraint(probabilities, self.temperature(), counted)
        total = sum((term for term in (crf, size) if term is not None), start=seeds)
        return FCAMLossTerms(total, seeds, crf, size)


def present_regions(probabilities: Tensor, present: Tensor | None) -> Tensor:
    """Join the foregrounds that images do not have to one region.

    Args:
        probabilities: Softmax over background and F foregrounds, (B, 1 + F, H, W).
        present: Whether an image has each foreground, bool (B, F); None for all.

    Returns:
        Background, the foregrounds of the image and the sum of the others, (B, T + 2, H, W), T the
        largest number of foregrounds of an image; an image with fewer has regions of zeros. The
        probabilities as they are where there is one foreground or ``present`` is None.
    """
    if present is None or present.shape[1] == 1:
        return probabilities
    background, foregrounds = probabilities[:, :1], probabilities[:, 1:]
    most = int(present.sum(dim=1).max())
    first = present.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    rows = torch.arange(len(present), device=present.device)[:, None]
    own = foregrounds[rows, first] * present.gather(1, first)[:, :, None, None]
    others = foregrounds.masked_fill(present[:, :, None, None], 0.0).sum(dim=1, keepdim=True)
    return torch.cat([background, own, others], dim=1)
