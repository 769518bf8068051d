"""Maps on a grid of 16 bits, so that what is kept of them is what was measured."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Number of steps between 0 and 1.
MAP_STEPS = 65535


def to_levels(maps: Tensor) -> NDArray[np.uint16]:
    """Round maps in [0, 1] to levels 0..65535 of the same shape."""
    scaled = maps.detach().cpu().double() * MAP_STEPS
    return scaled.round().numpy().astype(np.uint16)


def from_levels(levels: NDArray[np.uint16]) -> Tensor:
    """Read maps from levels: float32 in [0, 1], of the same shape, equal on every machine."""
    # a float32 quotient may be rounded otherwise where a device multiplies by the reciprocal
    return torch.from_numpy((levels.astype(np.float64) / MAP_STEPS).astype(np.float32))


def on_grid(maps: Tensor) -> Tensor:
    """Round maps in [0, 1] to the grid: they change by at most 7.7e-6.

    Returns:
        Maps of the same shape on the same device, float32.
    """
    return from_levels(to_levels(maps)).to(maps.device)
