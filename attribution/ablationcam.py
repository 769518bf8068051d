"""Ablation-CAM."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query
from learned_saliency.attribution.core.variants import pair_batches


class AblationCAM(ChannelWeightedMethod):
    """Ablation-CAM (Desai and Ramaswamy 2020; Eq. 9 of paper 002).

    w_k = (F(A) - F(A without k)) / F(A), where F is the score of the class and a missing
    channel is zero. A negative F(A) flips all signs, as in the equation; F(A) = 0 is taken as 1.
    A log-probability is never positive, so its size divides: else every map would be flipped.

    Only the head is run, on all images and channels in batches. Where the head is affine
    (pooling and a linear layer), one derivative gives the differences exactly.

    Args:
        batch_size: Ablated activations in one pass of the head, at least 1; bounds memory.
        **options: See `ChannelWeightedMethod`.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """

    def __init__(self, *, batch_size: int = 64, **options: object) -> None:
        super().__init__(**options)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size

    def _coefficients(self, query: Query) -> Tensor:
        full = query.score.detach()[:, None]  # (B, 1)
        drops = query.linear_contributions
        if drops is None:
            drops = full - self._scores_without(query)
        if self.target == "log_probability":
            full = full.abs()
        return drops / torch.where(full == 0, 1.0, full)

    def _scores_without(self, query: Query) -> Tensor:
        """Compute F(A without k) for every channel, shape (B, K)."""
        count, channels = query.features.shape[:2]
        scores = []
        for rows, channel in pair_batches(count, channels, self.batch_size, query.features.device):
            ablated = query.features[rows]
            ablated[torch.arange(len(rows), device=rows.device), channel] = 0
            scores.append(query.scores(ablated, rows))
        return torch.cat(scores).view(count, channels)
