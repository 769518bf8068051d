"""Thresholds at which maps are cut, as boxes are."""

import torch
from torch import Tensor

#: Fractions of a map's maximum above which a pixel belongs to the object.
LADDER = tuple(round(0.05 * step, 2) for step in range(1, 20))

#: Threshold where no threshold is better than another.
UNDECIDED = 0.5


def quantized(saliency: Tensor) -> Tensor:
    """Truncate maps (B, H, W) in [0, 1] to 8 bits as the box metrics do; int64 (B, H, W)."""
    return (saliency.detach().double() * 255).to(torch.int64)


def cut_levels(levels: Tensor, thresholds: Tensor) -> Tensor:
    """Compute the 8-bit level that a pixel has to exceed at each threshold.

    Args:
        levels: Quantized maps, int64 (B, H, W) in 0..255.
        thresholds: Fractions of each map's maximum, float64 (T,) in [0, 1).

    Returns:
        int64 (B, T).
    """
    highest = levels.amax((1, 2)).double()
    return (highest[:, None] * thresholds.to(highest.device)).to(torch.int64)


def best_threshold(curve: Tensor, thresholds: Tensor) -> Tensor:
    """Choose the first threshold at which a curve is highest; 0.5 where it is nowhere above 0.

    Args:
        curve: Values at the thresholds, float64 (T,); NaN before any image was seen.
        thresholds: float64 (T,).

    Returns:
        float64, a scalar.
    """
    curve = curve.nan_to_num(0.0)
    chosen = thresholds.to(curve.device)[curve.argmax()]
    return torch.where(curve.max() > 0, chosen, UNDECIDED)
