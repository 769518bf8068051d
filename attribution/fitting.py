"""Channel weights whose map is as near as possible to a given one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.ops import full_precision

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Adam's constants
_TINY = 1e-12  # keeps quotients of zeros finite


def fit_weights(
    features: Tensor, maps: Tensor, steps: int = 50, learning_rate: float = 0.3
) -> Tensor:
    """Find u for which the map of Eq. 8 (paper 000) correlates best with a given map.

    Scaled to [0, 1], the two maps are then as similar as the features allow: the correlation does
    not see scale and shift. Adam climbs from equal weights on the features alone, so that the cost
    is that of some products of the features with vectors.

    Args:
        features: A, shape (B, K, h, w), at least 0.
        maps: Maps wanted, shape (B, h', w').
        steps: Number of steps, at least 0.
        learning_rate: Learning rate of Adam, above 0.

    Returns:
        u, shape (B, K), any sign.

    Raises:
        ValueError: If ``steps`` or ``learning_rate`` is out of range.
    """
    if steps < 0 or not learning_rate > 0:
        raise ValueError(
            f"steps must be at least 0, learning_rate above 0, got {steps} and {learning_rate}"
        )
    with torch.no_grad(), full_precision(features.device):
        wanted = F.adaptive_avg_pool2d(maps.to(features.dtype), features.shape[-2:]).flatten(1)
        wanted = _unit(wanted - wanted.mean(dim=1, keepdim=True))[0]
        channels = features.flatten(2)
        channels = channels - channels.mean(dim=2, keepdim=True)
        u = torch.zeros_like(channels[:, :, 0])
        mean, square = torch.zeros_like(u), torch.zeros_like(u)  # Adam's moments
        for step in range(1, steps + 1):
            gradient = _slope(u.softmax(dim=1), channels, wanted)
            mean = _BETA1 * mean + (1 - _BETA1) * gradient
            square = _BETA2 * square + (1 - _BETA2) * gradient.square()
            scale = (square / (1 - _BETA2**step)).sqrt() + _EPSILON
            u = u + learning_rate / (1 - _BETA1**step) * mean / scale
        return u


def _slope(weights: Tensor, channels: Tensor, wanted: Tensor) -> Tensor:
    """Compute the gradient of the correlation by u, (B, K), at weights softmax(u).

    Args:
        weights: Shape (B, K), of sum 1.
        channels: Maps of mean 0, shape (B, K, hw).
        wanted: Maps of mean 0 and length 1, shape (B, hw).
    """
    made, length = _unit(torch.einsum("bk,bkp->bp", weights, channels))
    correlation = (made * wanted).sum(dim=1, keepdim=True)
    by_map = (wanted - correlation * made) / length
    by_weights = torch.einsum("bp,bkp->bk", by_map, channels)
    return weights * (by_weights - (weights * by_weights).sum(dim=1, keepdim=True))


def _unit(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Scale maps (B, hw) to length 1; return their lengths (B, 1), too."""
    length = maps.norm(dim=1, keepdim=True).clamp(min=_TINY)
    return maps / length, length
