"""Resizing of feature maps."""

from torch import Tensor
from torch.nn import functional as F


def resize(maps: Tensor, size: tuple[int, int], mode: str = "nearest") -> Tensor:
    """Resize maps (B, K, h, w) to H x W cells, with half-pixel centers; return fitting maps as is.

    Args:
        maps: Maps of shape (B, K, h, w).
        size: Height H and width W in cells.
        mode: ``"nearest"``, ``"bilinear"`` or ``"bicubic"``.
    """
    if maps.shape[-2:] == tuple(size):
        return maps
    corners = None if mode == "nearest" else False
    return F.interpolate(maps, size=tuple(size), mode=mode, align_corners=corners)
