"""Average precision of each class of a multi-label classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from learned_saliency.metrics.figures import PRESENCE, Figure


def average_precision(scores: Tensor, truth: Tensor) -> Tensor:
    """Compute AP = sum_k (R_k - R_{k-1}) P_k of each class, k over its different scores, falling.

    P_k and R_k are precision and recall of the images that score at least as the k-th: images of
    equal scores count together, and nothing is interpolated.

    Args:
        scores: Scores of N images, floating (N, C); only their order within a class counts.
        truth: Whether each image has the class, bool (N, C).

    Returns:
        Fractions in [0, 1], float64 (C,); NaN for a class that no image has.

    Raises:
        ValueError: If shapes differ or are not (N, C), or a score is NaN.
    """
    if scores.ndim != 2 or scores.shape != truth.shape:
        raise ValueError(
            f"expected scores and truth (N, C), got {tuple(scores.shape)} and {tuple(truth.shape)}"
        )
    if scores.isnan().any():
        raise ValueError("scores contain NaN")
    ordered, order = scores.sort(dim=0, descending=True)
    hits = truth.gather(0, order).double().cumsum(dim=0)
    ranks = torch.arange(1, len(scores) + 1, device=scores.device, dtype=torch.float64)[:, None]
    # the precision of an image is that at the last image of an equal score
    ends = torch.ones_like(ordered, dtype=torch.bool)
    ends[:-1] = ordered[1:] != ordered[:-1]
    found = torch.where(ends, hits, torch.zeros_like(hits))
    before = found.cummax(dim=0).values.roll(1, dims=0)
    before[:1] = 0.0
    gained = torch.where(ends, hits - before, torch.zeros_like(hits))
    return (gained * hits / ranks).sum(dim=0) / truth.sum(dim=0)


class ClassAveragePrecision(Metric):
    """Average precision of each class over a set of images, and its mean; see `average_precision`.

    ``compute`` gives ``mean_average_precision``, the mean over the classes that some image has, a
    float64 scalar in [0, 1]; NaN before any image was seen. `per_class` gives that of each class.

    Note:
        The value is exact, and so depends on the order of all scores: they are the state, five
        bytes for an image and class. Histograms of fixed size would lose the order of near scores,
        which for a confident classifier are most. PASCAL VOC's measure of 2007 takes the precision
        at eleven recalls instead, and later ones the highest precision at no lower recall: both
        give other numbers.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({"labels", PRESENCE})
    figures: ClassVar[Mapping[str, Figure]] = {
        "mean_average_precision": Figure(True, progress=True, short="mAP")
    }

    scores: list[Tensor]  # one flat tensor per batch, (n * C,)
    truth: list[Tensor]
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("truth", [], dist_reduce_fx="cat")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")
        self._begin()

    def _begin(self) -> None:
        """Put something into the lists: a process without any image has to gather, too."""
        self.scores.append(torch.zeros(0, device=self.device))
        self.truth.append(torch.zeros(0, dtype=torch.bool, device=self.device))

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._begin()

    def update(self, scores: Tensor, truth: Tensor) -> None:
        """Add images.

        Args:
            scores: Scores (B, C), floating, kept as float32; see `average_precision`.
            truth: Whether each image has the class, bool (B, C).

        Raises:
            ValueError: If shapes differ or are not (B, C), or a score is NaN.
        """
        average_precision(scores[:0], truth[:0])  # checks
        if scores.isnan().any():
            raise ValueError("scores contain NaN")
        self.scores.append(scores.detach().float().flatten().to(self.device))
        self.truth.append(truth.detach().bool().flatten().to(self.device))
        self.images += len(scores)

    def per_class(self) -> Tensor:
        """Compute the average precision of each class, float64 (C,), over all processes.

        Every process has to call it. It is NaN for a class that no image has, and empty before any
        image was seen.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            return self._per_class()

    def _per_class(self) -> Tensor:
        images = int(self.images)
        scores, truth = dim_zero_cat(self.scores), dim_zero_cat(self.truth)
        if not images:
            return scores.double()
        return average_precision(scores.view(images, -1), truth.view(images, -1))

    def compute(self) -> Tensor:
        """Compute the mean over the classes that some image has."""
        return self._per_class().nanmean()
