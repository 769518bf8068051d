"""Correlations of the rows of two tensors."""

import torch
from torch import Tensor


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Compute Pearson's correlation of each row.

    Args:
        first: Shape (B, N).
        second: Shape (B, N).

    Returns:
        Correlations in [-1, 1], float64 (B,); 0 where all numbers of a row are equal.
    """
    first, second = (
        rows.double() - rows.double().mean(1, keepdim=True) for rows in (first, second)
    )
    scale = (first.square().sum(1) * second.square().sum(1)).sqrt()
    found = (first * second).sum(1) / torch.where(scale > 0, scale, 1.0)
    return torch.where(scale > 0, found, 0.0).clamp(-1, 1)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Compute Spearman's rank correlation of each image's numbers; ties share their mean rank.

    Args:
        first: Numbers of any range, such as maps (B, H, W) or the importance of parts (B, N).
        second: Numbers of the same shape.

    Returns:
        Correlations in [-1, 1], float64 (B,); 0 where all numbers are equal and have no order.

    Raises:
        ValueError: If the shapes differ, or are (B,) alone.
    """
    if first.dim() < 2 or first.shape != second.shape:
        raise ValueError(
            f"expected two tensors of a shape (B, ...), got {tuple(first.shape)}, "
            f"{tuple(second.shape)}"
        )
    return correlation(_ranks(first.flatten(1)), _ranks(second.flatten(1)))


def _ranks(values: Tensor) -> Tensor:
    """Rank the numbers of each row (B, N) from 1, float64; ties share their mean rank."""
    found = []
    for row in values:
        _, places, counts = torch.unique(row, return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        found.append((last - (counts - 1) / 2)[places])
    return torch.stack(found) if found else values.double()
