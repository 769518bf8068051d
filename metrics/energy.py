from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.image_terms import ImageTerms
from learned_saliency.metrics.truth import box_union, check_region, mask_region


def energy(saliency: Tensor, region: Tensor, counted: Tensor | None = None) -> Tensor:
    """Compute the share of each map's mass within a region (paper 002, Eq. 14; 000, Eq. A3).

    Args:
        saliency: Maps (B, H, W) in [0, 1].
        region: Whether a pixel is in the region, bool (B, H, W).
        counted: Whether a pixel counts at all, likewise; None for all.

    Returns:
        Fractions in [0, 1], float64 (B,); 0 for a map of zeros.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If shapes differ, or a map leaves [0, 1].
    """
    check_saliency(saliency)
    check_region(region, saliency)
    maps = saliency.detach().double()
    if counted is not None:
        check_region(counted, saliency, "counted")
        maps = maps * counted
    inside, whole = (values.sum(dim=(1, 2)) for values in (maps * region, maps))
    return torch.where(whole > 0, inside / torch.where(whole > 0, whole, 1.0), 0.0)


class EnergyProportion(ImageMean):
    """Mean share of a map's mass within a region (paper 002, Eq. 14: within the true box).

    A map that is the same everywhere has the region's share of the image.
    """

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"energy": Figure(True)}

    def update(self, saliency: Tensor, region: Tensor) -> None:
        """Add a batch; see `energy` for arguments and errors."""
        self._add(energy(saliency, region))


class EnergyPointingGame(ImageTerms):
    """Energy pointing game: share of a map's mass within the union of the true boxes.

    EP of paper 000, App. C, which is its precision, Eq. A3; Eq. 14 of paper 002, which has one box.
    The far edges of boxes lie inside, see `box_union`; an image whose boxes hold no pixel of it is
    not counted. Ties do not matter. A constant map has the boxes' share of the image, as a map
    drawn at random has on average; a map of zeros has 0.
    """

    higher_is_better = True
    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    figures: ClassVar[Mapping[str, Figure]] = {"energy_pointing_game": Figure(True, headline=False)}

    def update(self, saliency: Tensor, boxes: Sequence[Tensor]) -> None:
        """Count a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            boxes: True boxes of each map; see `box_union`, as for the errors.
        """
        region = box_union(boxes, saliency)
        share = energy(saliency, region)
        self._count(share.masked_fill(~region.any(dim=2).any(dim=1), torch.nan))


class RelevanceMassAccuracy(ImageTerms):
    """Relevance mass accuracy: share of a map's mass on the object (Arras et al., 2022).

    The energy pointing game with a mask for the boxes. Pixels that the mask says to ignore are left
    out; an image without an object pixel is not counted. Ties do not matter. A constant map has the
    object's share of the pixels that count; a map of zeros has 0.
    """

    higher_is_better = True
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    figures: ClassVar[Mapping[str, Figure]] = {
        "relevance_mass_accuracy": Figure(True, headline=False)
    }

    def update(self, saliency: Tensor, masks: Tensor) -> None:
        """Count a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            masks: True masks (B, H, W), uint8; see `mask_region`, as for the errors.
        """
        region, counted = mask_region(masks, saliency)
        share = energy(saliency, region, counted)
        self._count(share.masked_fill(~region.any(dim=2).any(dim=1), torch.nan))
