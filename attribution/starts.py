"""Starts of Opti-CAM's u beside equal weights and trained methods."""

from __future__ import annotations

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import Query


class RandomStart:
    """Random start: K normal numbers of deviation ``scale``, the same for every image.

    Opti-CAM's maps then depend on neither the batch nor an image's place in it. A `Start`.

    Args:
        seed: Seed of the numbers.
        scale: Their standard deviation, at least 0; at 0 the weights start equal.

    Raises:
        ValueError: If ``scale`` is negative.
    """

    def __init__(self, seed: int = 0, scale: float = 1.0) -> None:
        if not scale >= 0:
            raise ValueError(f"scale must be at least 0, got {scale}")
        self.seed = seed
        self.scale = scale

    def u(self, query: Query) -> Tensor:
        """Draw u, shape (B, K); see `Start`."""
        features = query.features
        generator = torch.Generator().manual_seed(self.seed)
        drawn = self.scale * torch.randn(features.shape[1], generator=generator)
        return drawn.to(features).expand(len(features), -1)
