"""Scores of subsets of channels, all others set to 0, and the linear models fitted to them."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.query import Query
from learned_saliency.attribution.core.variants import pair_batches

_LEAST = 1e-10  # what the diagonal grows by, as a share of its mean, so that an inverse exists


def random_subsets(sizes: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    """Draw subsets of given sizes, all of one size being equally likely.

    Args:
        sizes: Number of channels in each subset, int (S,) in [0, K], on the CPU.
        channels: K, at least 1.
        generator: On the CPU, so that every device has the same subsets.

    Returns:
        bool (S, K), on the CPU.
    """
    places = torch.rand(len(sizes), channels, generator=generator).argsort(dim=1)
    return places < sizes[:, None]


def subset_scores(query: Query, targets: Tensor, subsets: Tensor, batch_size: int) -> Tensor:
    """Compute F of the activations with some channels kept and all others set to 0.

    The runs are of the head alone, and serve all classes.

    Args:
        query: A query of B images and K channels.
        targets: Classes, int64 (B, T).
        subsets: bool (S, K), the same for all images.
        batch_size: Most rows (K, h, w) in one run.

    Returns:
        Scores (B, T, S), on the device of the features.
    """
    features = query.features
    subsets, scores = subsets.to(features.device), []
    for rows, index in pair_batches(len(features), len(subsets), batch_size, features.device):
        present = features[rows].mul_(subsets[index][:, :, None, None])
        scores.append(query.class_scores(query.head(present, rows), targets[rows]))
    return torch.cat(scores).view(len(features), len(subsets), -1).transpose(1, 2)


def class_shares(query: Query, targets: Tensor) -> Tensor | None:
    """Compute each channel's share of the score where that is affine in the activations.

    Args:
        query: A query of B images and K channels.
        targets: Classes, int64 (B, T).

    Returns:
        F(A) - F(A without channel k), shape (B, T, K), any sign; None where the head is not
        certainly affine, see `Query.linear_contributions`.
    """
    rows = torch.arange(len(targets), device=targets.device).repeat_interleave(targets.shape[1])
    shares = query.of_classes(rows, targets.flatten()).linear_contributions
    return None if shares is None else shares.view(*targets.shape, -1)


def fit_ridge(subsets: Tensor, scores: Tensor, weights: Tensor, strength: float) -> Tensor:
    """Fit F(a') = alpha_0 + sum_k alpha_k a'_k by weighted least squares with a ridge.

    Minimizes sum_s w_s (F(a'_s) - alpha_0 - alpha a'_s)^2 + strength * |alpha|^2; alpha_0 is free.
    All scores share the subsets, so there is one K x K matrix to factorize, in float64.

    Args:
        subsets: a', bool (S, K), on the CPU.
        scores: F, shape (..., S).
        weights: w, shape (S,), at least 0, of positive sum.
        strength: Weight of the ridge, above 0.

    Returns:
        alpha, shape (..., K), of the type and device of ``scores``.
    """
    inputs, outputs, weights = _doubled(subsets, scores, weights)
    centered = inputs - (weights @ inputs) / weights.sum()
    matrix = centered.T @ (weights[:, None] * centered)
    matrix.diagonal().add_(strength)
    return _solve(matrix, (outputs * weights) @ centered).to(scores)


def fit_shares(subsets: Tensor, gains: Tensor, weights: Tensor, totals: Tensor) -> Tensor:
    """Fit F(a') - F(0) = sum_k alpha_k a'_k by least squares, where all alpha sum to a total.

    Minimizes sum_s w_s (F(a'_s) - F(0) - alpha a'_s)^2. Where the subsets leave alpha open, it is
    the solution nearest to equal shares.

    Args:
        subsets: a', bool (S, K), on the CPU.
        gains: F(a') - F(0), shape (..., S).
        weights: w, shape (S,), at least 0.
        totals: F(A) - F(0), shape (...).

    Returns:
        alpha, shape (..., K), of the type and device of ``gains``.
    """
    inputs, outputs, weights = _doubled(subsets, gains, weights)
    equal = totals.cpu().double()[..., None] / inputs.shape[1]  # the share of each of K channels
    rest = outputs - equal * inputs.sum(dim=1)
    inputs = inputs - inputs.mean(dim=1, keepdim=True)  # deviations from equal shares sum to 0
    matrix = inputs.T @ (weights[:, None] * inputs)
    scale = matrix.diagonal().mean()
    matrix += scale / len(matrix)  # no deviation lies along (1, ..., 1)
    matrix.diagonal().add_(_LEAST * scale)
    return (equal + _solve(matrix, (rest * weights) @ inputs)).to(gains)


def _doubled(subsets: Tensor, scores: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert all to float64 on the CPU, which accelerators need not have."""
    return subsets.double(), scores.cpu().double(), weights.cpu().double()


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve M alpha = r for rows r (..., K) and a positive definite M (K, K)."""
    flat = right.reshape(-1, right.shape[-1]).T
    return torch.cholesky_solve(flat, torch.linalg.cholesky(matrix)).T.reshape(right.shape)
