"""SHAP-CAM: channel weights by Shapley sampling."""

from collections.abc import Callable

import torch
from torch import Tensor

from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.method import ChannelWeightedMethod, Query


class SHAPCAM(ChannelWeightedMethod):
    """SHAP-CAM with sampled orderings (paper 002, Algorithm 1).

    Channels join one after the other, in each of several random orderings; the weight of a channel
    is the mean gain of the target logit as it joins, missing channels being zero. The weights of an
    image add up to F(A) - F(0), and converge to the Shapley values (Eq. 6).

    Only the head runs, on many subsets of many images and orderings at a time: K - 1 rows per image
    and ordering, since the empty and the full set need not be repeated. An affine head, whose gain
    does not depend on the order, needs no sampling: the weights are exact.

    All images share the orderings, which depend on the seed and on K alone: an image's map does
    not depend on its batch, or on earlier calls.

    Args:
        orderings: Number of orderings |Pi|, at least 1. Ignored if ``orders`` is given.
        orders: The orderings themselves, int (P, K), each row a permutation of 0..K-1, the first
            channel to join first.
        batch_size: Most rows (K, h, w) that the head gets at a time, at least 1; bounds memory.
        seed: Seed of the random orderings.
        progress: Called as ``progress(done, blocks)`` after each block of orderings, ``done``
            from 1.
        rectify: Whether negative evidence is cut off before normalization, as in the paper.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If a number is out of range, or ``orders`` are no permutations; when called,
            if ``orders`` have another number of channels than the features.
    """

    needs_gradients = True  # to find out whether the head is affine
    weights_of_means = True

    def __init__(
        self,
        *,
        orderings: int = 100,
        orders: Tensor | None = None,
        batch_size: int = 256,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
        rectify: bool | None = None,
        **options: str,
    ) -> None:
        super().__init__(rectify=rectify, **options)
        if orderings < 1 or batch_size < 1:
            raise ValueError(
                f"orderings and batch_size must be at least 1, got {orderings} and {batch_size}"
            )
        if orders is not None:
            orders = torch.as_tensor(orders)
            if orders.dim() != 2 or orders.is_floating_point() or not _are_permutations(orders):
                raise ValueError("orders must be (P, K), each row a permutation of 0..K-1")
        self.orderings = orderings
        self.orders = orders
        self.batch_size = batch_size
        self.seed = seed
        self.progress = progress

    def _coefficients(self, query: Query) -> Tensor:
        orders = self._draw(query.features.shape[1]).to(query.features.device)
        if is_affine(query.score):
            return (query.gradients * query.features).sum(dim=(2, 3))
        none = query.scores(torch.zeros_like(query.features))
        everything = query.score.detach()[:, None]
        total = torch.zeros_like(query.features[:, :, 0, 0])
        blocks = orders.split(max(1, self.batch_size // len(none)))
        for done, block in enumerate(blocks, start=1):
            inner = self._evaluate(query, block.argsort(dim=1))
            ends = none[:, None, None], everything[:, None]  # without and with all channels
            first, last = (end.expand(-1, len(block), 1) for end in ends)
            gains = torch.cat([first, inner, last], dim=2).diff(dim=2)  # as the channels joined
            channels = block.expand_as(gains)
            total += torch.zeros_like(gains).scatter(2, channels, gains).sum(dim=1)
            if self.progress is not None:
                self.progress(done, len(blocks))
        return total / len(orders)

    def _draw(self, channels: int) -> Tensor:
        """Return the orderings (P, K)."""
        if self.orders is None:
            generator = torch.Generator().manual_seed(self.seed)
            return torch.rand(self.orderings, channels, generator=generator).argsort(dim=1)
        if self.orders.shape[1] != channels:
            raise ValueError(f"orders are of {self.orders.shape[1]} channels, features {channels}")
        return self.orders

    def _evaluate(self, query: Query, ranks: Tensor) -> Tensor:
        """Compute the target logits with the first 1, 2, ..., K - 1 channels: (B, P, K - 1).

        Args:
            query: A query of B images and K channels.
            ranks: Rank at which each channel joins, int (P, K) in [0, K).
        """
        features = query.features
        orderings, channels = ranks.shape
        values = features.new_empty(len(features), orderings, channels - 1)
        for rows in torch.arange(values.numel(), device=features.device).split(self.batch_size):
            image, ordering, step = torch.unravel_index(rows, values.shape)
            present = ranks[ordering] <= step[:, None]  # (R, K)
            subsets = features[image] * present[:, :, None, None]
            values[image, ordering, step] = query.scores(subsets, image)
        return values


def _are_permutations(orders: Tensor) -> bool:
    ranks = torch.arange(orders.shape[1], device=orders.device)
    return bool(len(orders)) and torch.equal(orders.sort(dim=1).values, ranks.expand_as(orders))
