"""KernelSHAP-CAM: channel weights by Shapley kernel regression."""

import math

import torch
from torch import Tensor

from learned_saliency.attribution.core.altered import AlteringMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.subsets import (
    class_shares,
    fit_shares,
    random_subsets,
    subset_scores,
)


class KernelSHAPCAM(AlteringMethod):
    """KernelSHAP-CAM: Eq. 5 of paper 002 solved by KernelSHAP (Lundberg and Lee 2017, Thm. 2).

    The weights of g(a') = F(0) + sum_k alpha_k a'_k minimize

        sum_s pi(a'_s) (F(a'_s) - g(a'_s))^2,  pi(a') = (K - 1) / (C(K, |a'|) |a'| (K - |a'|)),

    where F(a') is the score with the channels of a'_k = 0 set to 0, under sum_k alpha_k = F(A) -
    F(0). Over all subsets they are the Shapley values (Eq. 6). Where there are no more than
    ``samples`` of them, all 2^K - 2 are taken and the weights are exact. Else sizes are drawn with
    the probability that the kernel gives them, p(s) ~ 1 / (s (K - s)), and subsets uniformly within
    a size, so that all have the same weight in the sum; each is followed by its complement
    (Covert and Lee 2021), which halves the error.

    Only the head runs, once per subset, for all classes of an image together. All images share the
    subsets, which depend on the seed and on K alone. Where the head is affine nothing is drawn: one
    derivative gives the exact values.

    Note:
        Both constraints hold exactly; captum gives the empty and the full set a weight of 10^6
        instead. A pair says about alpha what one subset says, so that fewer than 2 K subsets leave
        many solutions, of which the one nearest to equal shares is taken; about 2 K give the
        noisiest weights, and a good many more are needed. `SHAPCAM` comes closer to the Shapley
        values by as many runs of a head that is nearly additive (docs/post-hoc.md).

    Args:
        samples: Most subsets besides the empty and the full one, at least 2; None for 2 K + 2048,
            the number that the authors' package takes.
        seed: Seed of the subsets.
        **options: See `AlteringMethod`; ``batch_size`` counts rows of the head.

    Raises:
        ValueError: If ``samples`` is below 2.
    """

    def __init__(self, *, samples: int | None = None, seed: int = 0, **options: object) -> None:
        super().__init__(**options)
        if samples is not None and samples < 2:
            raise ValueError(f"samples must be at least 2, got {samples}")
        self.samples = samples
        self.seed = seed

    def _class_coefficients(self, query: Query, targets: Tensor) -> Tensor:
        exact = class_shares(query, targets)
        if exact is not None:
            return exact
        features = query.features
        none = query.class_scores(query.head(torch.zeros_like(features)), targets)
        totals = query.class_scores(query.logits.detach(), targets) - none
        if features.shape[1] == 1:
            return totals[:, :, None]
        subsets, weights = self._subsets(features.shape[1])
        scores = subset_scores(query, targets, subsets, self._run_size(features))
        return fit_shares(subsets, scores - none[:, :, None], weights, totals)

    def _subsets(self, channels: int) -> tuple[Tensor, Tensor]:
        """Return subsets, bool (S, K), and their weights (S,) in the sum."""
        sizes = torch.arange(1, channels, dtype=torch.float64)
        kernel = 1 / (sizes * (channels - sizes))  # pi of all subsets of a size, up to a factor
        most = self.samples or 2 * channels + 2048
        if channels < 32 and 2**channels - 2 <= most:
            numbers = torch.arange(1, 2**channels - 1)
            subsets = (numbers[:, None] >> torch.arange(channels)) % 2 == 1
            counts = torch.tensor([math.comb(channels, s) for s in range(1, channels)])
            return subsets, (kernel / counts)[subsets.sum(dim=1) - 1]
        generator = torch.Generator().manual_seed(self.seed)
        pairs = (most + 1) // 2
        drawn = 1 + torch.multinomial(kernel, pairs, replacement=True, generator=generator)
        first = random_subsets(drawn, channels, generator)
        subsets = torch.stack([first, ~first], dim=1).flatten(0, 1)[:most]
        return subsets, torch.ones(len(subsets))
