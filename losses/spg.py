"""Losses of self-produced guidance."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_saliency.losses.multilabel import classification_loss
from learned_saliency.losses.partial_cross_entropy import IGNORE
from learned_saliency.ops import min_max, widen


class SPGLossTerms(NamedTuple):
    """Scalars of one batch, which are added.

    Attributes:
        classification: Cross-entropy of the image labels.
        deep: Cross-entropy of branch B2 with the seeds of the attention map.
        shallow: Cross-entropy of branch B1 with the seeds of B2.
        last: Cross-entropy of branch C with the seeds of B1's and B2's mean.
    """

    classification: Tensor
    deep: Tensor
    shallow: Tensor
    last: Tensor


def guidance_seeds(
    guide: Tensor, foreground: float, background: float, least: float = 0.0
) -> Tensor:
    """Cut a guiding map into sure foreground, sure background and the rest, which is ignored.

    Zhang et al., Self-produced Guidance, ECCV 2018, the two thresholds delta_h and delta_l. Where
    fewer than ``least`` pixels are foreground, those above 0.7 times the map's maximum are, as in
    the authors' code; what is below ``background`` is background even then. A constant map gives
    no seeds.

    Args:
        guide: Maps of shape (B, H, W) in [0, 1]; no gradient passes.
        foreground: What foreground is above, in [0, 1].
        background: What background is below, in [0, 1].
        least: Pixels of foreground that a map should have, at least 0.

    Returns:
        Labels int64 (B, H, W): 1 foreground, 0 background, ``IGNORE`` elsewhere.

    Raises:
        ValueError: If ``guide`` is not 3-D.
    """
    if guide.dim() != 3:
        raise ValueError(f"guide must have shape (B, H, W), got {tuple(guide.shape)}")
    guide = guide.detach()
    high = guide.amax(dim=(1, 2), keepdim=True)
    varies = high > guide.amin(dim=(1, 2), keepdim=True)
    inside = guide > foreground
    few = inside.sum(dim=(1, 2), keepdim=True) < least
    inside = torch.where(few, guide > _RELAXED * high, inside)
    labels = torch.full(guide.shape, IGNORE, dtype=torch.int64, device=guide.device)
    labels.masked_fill_(inside & varies, 1)
    return labels.masked_fill_((guide < background) & varies, 0)


def seed_cross_entropy(scores: Tensor, seeds: Tensor) -> Tensor:
    """Average the binary cross-entropy over all seeds of the batch.

    Args:
        scores: Logits of the foreground, (B, H, W).
        seeds: Labels of `guidance_seeds`, int64 (B, H, W).

    Returns:
        A scalar, at least 0, in at least float32; 0 where there are no seeds.

    Raises:
        ValueError: If the shapes differ.
    """
    if scores.shape != seeds.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and seeds {tuple(seeds.shape)} differ")
    scores, labeled = widen(scores), seeds != IGNORE
    losses = F.binary_cross_entropy_with_logits(scores, seeds.eq(1).to(scores), reduction="none")
    return losses.masked_fill(~labeled, 0.0).sum() / labeled.sum().clamp(min=1)


class SPGLoss(nn.Module):
    """Cross-entropies of image and self-produced guidance (Zhang et al., ECCV 2018).

    All maps are enlarged to the image bilinearly. The attention map of the true class, min-max
    normalized, guides branch B2; B2's probability guides B1, the mean of both guides C. Each guide
    is cut into seeds by two thresholds, and no gradient passes through it. The terms count alike.

    The thresholds are those of the authors' code. The WSOL benchmark draws them at random and
    keeps what is best on ``val``; its defaults differ in the background of the attention map, 0.01.

    Args:
        attention_thresholds: Foreground above and background below of the attention map, in [0, 1].
        deep_thresholds: The same of B2's probability, as the guide of B1.
        fused_thresholds: The same of B1's and B2's mean, as the guide of C.
        seed_pixels: Pixels of foreground, in an image of ``reference_size``, below which the
            threshold of a map is 0.7 times its maximum instead, at least 0.
        reference_size: Side in pixels of the image that ``seed_pixels`` is meant for; it follows
            the area of other sizes.

    Raises:
        ValueError: If a foreground threshold is below the background's, or a number is out of its
            range.
    """

    def __init__(
        self,
        attention_thresholds: Sequence[float] = (0.7, 0.05),
        deep_thresholds: Sequence[float] = (0.5, 0.05),
        fused_thresholds: Sequence[float] = (0.7, 0.1),
        seed_pixels: float = 30,
        reference_size: int = 224,
    ) -> None:
        super().__init__()
        given = {"attention": attention_thresholds, "deep": deep_thresholds}
        for name, values in (given | {"fused": fused_thresholds}).items():
            if len(values) != 2 or not 0 <= values[1] <= values[0] <= 1:
                raise ValueError(
                    f"{name}_thresholds must be two numbers in [0, 1], the foreground's and the "
                    f"background's, which is not the larger one, got {list(values)}"
                )
        if not seed_pixels >= 0 or reference_size < 1:
            raise ValueError(
                f"seed_pixels must be at least 0 and reference_size at least 1, got {seed_pixels} "
                f"and {reference_size}"
            )
        self.attention_thresholds = tuple(attention_thresholds)
        self.deep_thresholds = tuple(deep_thresholds)
        self.fused_thresholds = tuple(fused_thresholds)
        self.seed_share = seed_pixels / reference_size**2

    def forward(
        self,
        logits: Tensor,
        cams: Tensor,
        branches: Sequence[Tensor],
        labels: Tensor,
        size: tuple[int, int],
    ) -> SPGLossTerms:
        """Compute the terms of a batch.

        Args:
            logits: Class scores (B, C).
            cams: Class maps (B, h, w) of the labels, of any range; a constant map gives no seeds.
            branches: Foreground's logits of B1, B2 and C, each (B, h_i, w_i).
            labels: Classes, int64 (B,) or bool (B, C), see `classification_loss`.
            size: Height H and width W of the images.
        """
        shallow, deep, last = (_enlarge(scores, size) for scores in branches)
        attention = min_max(_enlarge(cams.detach(), size))
        below, above = shallow.detach().sigmoid(), deep.detach().sigmoid()
        least = self.seed_share * size[0] * size[1]
        of_attention = guidance_seeds(attention, *self.attention_thresholds, least)
        of_deep = guidance_seeds(above, *self.deep_thresholds, least)
        of_both = guidance_seeds((below + above) / 2, *self.fused_thresholds, least)
        return SPGLossTerms(
            classification_loss(logits, labels),
            seed_cross_entropy(deep, of_attention),
            seed_cross_entropy(shallow, of_deep),
            seed_cross_entropy(last, of_both),
        )


_RELAXED = 0.7  # threshold over the maximum of a map whose foreground is too small


def _enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge maps (B, h, w) to the image, bilinearly, in at least float32."""
    maps = widen(maps)[:, None]
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
