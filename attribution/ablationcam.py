"""Ablation-CAM."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.altered import AlteringMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.variants import pair_batches


class AblationCAM(AlteringMethod):
    """Ablation-CAM (Desai and Ramaswamy 2020; Eq. 9 of paper 002).

    w_k = (F(A) - F(A without k)) / F(A), where F is the score of the class and a missing
    channel is zero. A negative F(A) flips all signs, as in the equation; F(A) = 0 is taken as 1.
    A log-probability is never positive, so its size divides: else every map would be flipped.

    Only the head is run, on all images and channels in batches, which serve all classes of an
    image. Where the head is affine (pooling and a linear layer), one derivative gives the
    differences exactly.

    Args:
        **options: See `AlteringMethod`.
    """

    weights_of_means = True

    def _class_coefficients(self, query: Query, targets: Tensor) -> Tensor:
        count, classes = targets.shape
        rows = torch.arange(count, device=targets.device).repeat_interleave(classes)
        full = query.class_scores(query.logits.detach(), targets)[:, :, None]  # (B, T, 1)
        drops = query.of_classes(rows, targets.flatten()).linear_contributions
        if drops is None:
            drops = full - self._scores_without(query, targets)
        if self.target == "log_probability":
            full = full.abs()
        return drops.view(count, classes, -1) / torch.where(full == 0, 1.0, full)

    def _scores_without(self, query: Query, targets: Tensor) -> Tensor:
        """Compute F(A without k) for every class (B, T) and channel, shape (B, T, K)."""
        features = query.features
        count, channels = features.shape[:2]
        scores = []
        for rows, channel in pair_batches(
            count, channels, self._run_size(features), features.device
        ):
            ablated = features[rows]
            ablated[torch.arange(len(rows), device=rows.device), channel] = 0
            scores.append(query.class_scores(query.head(ablated, rows), targets[rows]))
        return torch.cat(scores).view(count, channels, -1).transpose(1, 2)
