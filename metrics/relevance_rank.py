from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_terms import ImageTerms
from learned_saliency.metrics.truth import check_region, mask_region


def rank_accuracy(saliency: Tensor, region: Tensor, counted: Tensor | None = None) -> Tensor:
    """Compute the share of each map's K highest pixels that lie in a region of K pixels.

    Pixels that are equal to the K-th highest share the places that are left for them, which is what
    ordering them at random gives on average: a map of one value has the region's share of the
    pixels that count.

    Args:
        saliency: Maps (B, H, W) in [0, 1].
        region: Whether a pixel is in the region, bool (B, H, W).
        counted: Whether a pixel counts at all, likewise; None for all. The region's pixels do.

    Returns:
        Shares in [0, 1], float64 (B,); NaN where the region is empty.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If shapes differ, a map leaves [0, 1] or a pixel of the region does not count.
    """
    check_saliency(saliency)
    check_region(region, saliency)
    values, region = saliency.detach().flatten(1), region.flatten(1)
    if counted is not None:
        check_region(counted, saliency, "counted")
        counted = counted.flatten(1)
        if (region & ~counted).any():
            raise ValueError("a pixel of the region is not among those that count")
        values = values.masked_fill(~counted, -1)
    size = region.sum(1)
    places = (values.shape[1] + 1 - size).clamp(max=values.shape[1]).tolist()
    last = [row.kthvalue(place).values for row, place in zip(values, places, strict=True)]
    last = torch.stack(last)[:, None]  # the K-th highest
    above, tied = values > last, values == last
    inside, within_ties = ((part & region).sum(1) for part in (above, tied))
    shared = (size - above.sum(1)) * within_ties / tied.sum(1).double()
    return ((inside + shared) / size).masked_fill(size == 0, torch.nan)


class RelevanceRankAccuracy(ImageTerms):
    """Relevance rank accuracy: share of the K highest pixels on an object of K pixels.

    Arras et al. (Information Fusion 2022), Sec. 3.3. Pixels that the mask says to ignore are left
    out; an image without an object pixel is not counted. Ties share their places, see
    `rank_accuracy`: a constant map has the object's share of the pixels that count.

    Note:
        The paper does not speak of ties. Quantus 0.6 leaves their order to the sort, which gives a
        constant map up to 1 by where the object lies.
    """

    higher_is_better = True
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    figures: ClassVar[Mapping[str, Figure]] = {
        "relevance_rank_accuracy": Figure(True, headline=False)
    }

    def update(self, saliency: Tensor, masks: Tensor) -> None:
        """Count a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            masks: True masks (B, H, W), uint8; see `mask_region`, as for the errors.
        """
        region, counted = mask_region(masks, saliency)
        self._count(rank_accuracy(saliency, region, counted))
