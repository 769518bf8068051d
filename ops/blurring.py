"""Gaussian blur of maps and images."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.ops.precision import full_precision


def blur(maps: Tensor, sigma: float, *, cutoff: float = 3.0, padding: str = "replicate") -> Tensor:
    """Blur maps with a Gaussian.

    Args:
        maps: Shape (B, H, W), or images (B, C, H, W).
        sigma: Standard deviation in pixels; 0 leaves the maps as they are.
        cutoff: Standard deviations after which the Gaussian is cut off, above 0.
        padding: What lies beyond the border: ``"replicate"``, the border, or ``"constant"``, zeros.

    Returns:
        Maps of the given shape.
    """
    if sigma == 0:
        return maps
    radius = math.ceil(cutoff * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    padded = F.pad(flat, (radius,) * 4, mode=padding)
    with full_precision(maps.device):
        rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
        return F.conv2d(rows, kernel.view(1, 1, -1, 1)).reshape(maps.shape)
