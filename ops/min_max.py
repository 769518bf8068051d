"""Min-max normalization of maps."""

import torch
from torch import Tensor

from learned_saliency.ops.precision import widen


def min_max(maps: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Scale each map to [0, 1] by its minimum and maximum.

    A map is constant when its range is within 64 units of rounding of its largest value; the
    resizing of an exactly constant map leaves up to about 20.

    Args:
        maps: Finite values of shape (..., H, W).
        low: Minimum of each map, (..., 1, 1), where ``maps`` are parts of larger ones; None for
            their own.
        high: Maximum, likewise.

    Returns:
        Maps in [0, 1], the shape of ``maps``, at least float32; a constant map becomes zeros.
    """
    maps = widen(maps)
    low = maps.amin(dim=(-2, -1), keepdim=True) if low is None else low
    high = maps.amax(dim=(-2, -1), keepdim=True) if high is None else high
    rounding = 64 * torch.finfo(maps.dtype).eps * torch.maximum(low.abs(), high.abs())
    constant = high - low <= rounding
    return torch.where(constant, 0.0, (maps - low) / torch.where(constant, 1.0, high - low))


def maximum_of_present(maps: Tensor, present: Tensor) -> Tensor:
    """Take the maximum of the maps of the classes that each image has.

    Args:
        maps: Maps (B, T, H, W) of T classes, at least 0.
        present: Whether an image has the class, bool (B, T).

    Returns:
        Maps (B, H, W); zeros of an image without a class.
    """
    return maps.masked_fill(~present[:, :, None, None], 0.0).amax(dim=1)
