import torch
from torch import Tensor

_ROUNDING = 1e-6


def check_saliency(saliency: Tensor) -> None:
    """Refuse a tensor that is not a batch of saliency maps.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1], of any floating type.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is not 3-D, is empty, holds a NaN or leaves [0, 1].
    """
    if not saliency.is_floating_point():
        raise TypeError(f"saliency must be of a floating type, got {saliency.dtype}")
    if saliency.ndim != 3 or saliency.numel() == 0:
        raise ValueError(
            f"saliency must be a non-empty tensor (B, H, W), got shape {tuple(saliency.shape)}"
        )
    low, high = (value.item() for value in saliency.detach().aminmax())
    if not (low >= 0 and high <= 1):  # also catches NaN, which aminmax passes on
        raise ValueError(f"saliency must lie in [0, 1], got values from {low} to {high}")


def constant_maps(saliency: Tensor) -> Tensor:
    """Find the maps whose values are all equal, up to the rounding of float32: they tell nothing.

    Args:
        saliency: Maps (B, H, W) in [0, 1].

    Returns:
        bool (B,).
    """
    low, high = saliency.detach().flatten(1).aminmax(dim=1)
    return high - low <= _ROUNDING


def check_masks(masks: Tensor, shape: tuple[int, int, int] | None = None) -> None:
    """Refuse a tensor that cannot be a batch of object masks; its values are not looked at.

    Args:
        masks: Object masks of shape (B, H, W), uint8.
        shape: The (B, H, W) to expect, or None to take any.

    Raises:
        TypeError: If ``masks`` is not uint8.
        ValueError: If its shape is not (B, H, W) or not ``shape``.
    """
    if masks.dtype != torch.uint8:
        raise TypeError(f"masks must be uint8, got {masks.dtype}")
    expected = shape or "(B, H, W)"
    if masks.ndim != 3 or (shape is not None and tuple(masks.shape) != shape):
        raise ValueError(f"masks must have shape {expected}, got {tuple(masks.shape)}")
