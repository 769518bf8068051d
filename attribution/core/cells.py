"""Masks that keep one cell of a grid, alone or spread over its neighbors."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cell_masks(height: int, width: int, gaussian: bool) -> Tensor:
    """Make the masks of all cells of a grid, in their order.

    Args:
        height: Rows of the grid.
        width: Its columns.
        gaussian: Whether the 1 at the cell is spread over its neighbors, see `spread`.

    Returns:
        Shape (h * w, h, w), in [0, 1].
    """
    masks = torch.eye(height * width).unflatten(1, (height, width))
    return spread(masks) if gaussian else masks


def spread(grids: Tensor) -> Tensor:
    """Spread each value over its neighbors by (1 2 1) (1 2 1)^T / 16; zeros lie beyond the border.

    Args:
        grids: Shape (..., h, w).

    Returns:
        The same shape.
    """
    padded = F.pad(grids, (1, 1, 1, 1))
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
