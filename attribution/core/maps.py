"""Resizing and normalization of maps."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.ops import min_max, widen

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


def normalize(maps: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Scale each map to [0, 1] by its minimum and maximum (paper 000, Eq. 4), as `ops.min_max`.

    A graph that is exported does not check its maps.

    Args:
        maps: Shape (..., H, W).
        low: Minimum of each map, (..., 1, 1), where ``maps`` are parts of larger ones; None for
            their own.
        high: Maximum, likewise.

    Returns:
        Maps in [0, 1], the shape of ``maps``, at least float32; a constant map becomes zeros.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    maps = widen(maps)
    if not is_recorded() and not bool(torch.isfinite(maps).all()):
        raise ValueError("a saliency map has NaN or infinite values; are the images finite?")
    return min_max(maps, low, high)


def normalize_by_maximum(
    maps: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    """Divide the positive part of each map by its maximum, max(0, f) / max f.

    Paper 001, Eq. 2, first line, and paper 000, Eq. 17. What is negative becomes 0, and where the
    smallest value is positive it stays above 0.

    Args:
        maps: Shape (..., H, W).
        low: See `normalize`.
        high: See `normalize`.

    Returns:
        Maps in [0, 1], the shape of ``maps``, at least float32; a map without a positive value
        becomes zeros, and so does a constant one, as by `normalize`.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    maps = widen(maps)
    constant = is_constant(maps if low is None else torch.cat([low, high], dim=-1))
    high = maps.amax(dim=(-2, -1), keepdim=True) if high is None else high
    positive = high > 0
    scaled = maps / torch.where(positive, high, 1.0)
    return torch.where(positive & ~constant, scaled.clamp(min=0, max=1), 0.0)


def is_constant(maps: Tensor) -> Tensor:
    """Find the maps (..., H, W) that `normalize` takes for constant, shape (..., 1, 1).

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    return normalize(maps.detach()).amax(dim=(-2, -1), keepdim=True) == 0


#: Functions of maps (..., H, W) of any range, and of their extremes where the maps are parts of
#: larger ones, to maps in [0, 1], by their words.
NORMALIZATIONS: dict[str, Callable[..., Tensor]] = {
    "range": normalize,
    "max": normalize_by_maximum,
}
