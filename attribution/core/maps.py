"""Resizing, blurring and normalization of maps."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.ops import full_precision, widen

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


def resize(maps: Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """Resize maps with half-pixel centers (``align_corners=False``).

    Args:
        maps: Shape (..., h, w).
        size: Height and width wanted, in pixels.
        interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``.

    Returns:
        Maps of shape (..., H, W); the given tensor where the size fits already.
    """
    if maps.shape[-2:] == tuple(size):
        return maps
    corners = None if interpolation == "nearest" else False
    flat = maps.reshape(-1, 1, *maps.shape[-2:])
    flat = F.interpolate(flat, size=tuple(size), mode=interpolation, align_corners=corners)
    return flat.reshape(*maps.shape[:-2], *size)


def normalize(maps: Tensor) -> Tensor:
    """Scale each map to [0, 1] by its minimum and maximum (paper 000, Eq. 4).

    A map is constant when its range is within 64 units of rounding of its largest value; the
    resizing of an exactly constant map leaves up to about 20. A graph that is exported does not
    check its maps.

    Args:
        maps: Shape (..., H, W).

    Returns:
        Maps in [0, 1], the shape of ``maps``, at least float32; a constant map becomes zeros.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    maps = widen(maps)
    low = maps.amin(dim=(-2, -1), keepdim=True)
    high = maps.amax(dim=(-2, -1), keepdim=True)
    finite = torch.isfinite(low) & torch.isfinite(high)
    if not is_recorded() and not bool(finite.all()):
        raise ValueError("a saliency map has NaN or infinite values; are the images finite?")
    rounding = 64 * torch.finfo(maps.dtype).eps * torch.maximum(low.abs(), high.abs())
    constant = high - low <= rounding
    return torch.where(constant, 0.0, (maps - low) / torch.where(constant, 1.0, high - low))


def blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps with a Gaussian, cut off at three standard deviations; borders are repeated.

    Args:
        maps: Shape (B, H, W).
        sigma: Standard deviation in pixels; 0 leaves the maps as they are.

    Returns:
        Maps (B, H, W).
    """
    if sigma == 0:
        return maps
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None], (radius,) * 4, mode="replicate")
    with full_precision(maps.device):
        rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
        return F.conv2d(rows, kernel.view(1, 1, -1, 1))[:, 0]
