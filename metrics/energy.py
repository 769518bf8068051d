from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean


def energy(saliency: Tensor, region: Tensor) -> Tensor:
    """Compute the share of each map's mass within a region (paper 002, Eq. 14).

    Args:
        saliency: Maps (B, H, W) in [0, 1].
        region: Whether a pixel is in the region, bool (B, H, W).

    Returns:
        Fractions in [0, 1], float64 (B,); 0 for a map of zeros.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If shapes differ, or a map leaves [0, 1].
    """
    check_saliency(saliency)
    if region.dtype != torch.bool:
        raise TypeError(f"region must be boolean, got {region.dtype}")
    if region.shape != saliency.shape:
        raise ValueError(
            f"expected two tensors (B, H, W), got {tuple(saliency.shape)}, {tuple(region.shape)}"
        )
    maps = saliency.double()
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
