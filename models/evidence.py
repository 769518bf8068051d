"""Maps of evidence for a class, from features and the gradient of the class's logit by them."""

from __future__ import annotations

import torch
from torch import Tensor

EVIDENCE = 4  # maps that `class_evidence` gives
_TINY = 1e-12  # keeps quotients of zeros finite


def check_channels(features: Tensor, channels: int) -> None:
    """Raise ValueError unless features (B, K, h, w) have as many channels as a network reads."""
    if features.ndim != 4 or features.shape[1] != channels:
        raise ValueError(
            f"the network reads features (B, {channels}, h, w), got {tuple(features.shape)}"
        )


def class_evidence(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute maps of an image that do not depend on the order of channels, (B, 4, h, w).

    The first is the share of each cell in the class's logit, of either sign; then mean, maximum and
    standard deviation over the channels. Each is scaled to a largest absolute value of 1.
    """
    maps = torch.stack(
        [
            (features * gradients).sum(dim=1),
            features.mean(dim=1),
            features.amax(dim=1),
            features.std(dim=1, correction=0),
        ],
        dim=1,
    )
    return maps / maps.abs().amax(dim=(2, 3), keepdim=True).clamp(min=_TINY)


def unit(maps: Tensor) -> Tensor:
    """Scale maps (..., hw) to length 1; zeros stay zeros."""
    return maps / maps.norm(dim=-1, keepdim=True).clamp(min=_TINY)


def scaled(numbers: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Scale numbers to a root mean square of 1 along some axes; zeros stay zeros."""
    size = numbers.square().mean(dim=axes, keepdim=True).sqrt()
    return numbers / size.clamp(min=_TINY)
