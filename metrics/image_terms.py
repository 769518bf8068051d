from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.figures import Figure


class ImageTerms(Metric):
    """Means over images of the terms that a subclass computes per image and counts by `_count`.

    ``compute`` gives float64 scalars by name, or one scalar where the metric has a single value. A
    mean is NaN before any image was counted; a value with needs of its own is left out then.

    Attributes:
        terms: Each image's terms of the last ``update`` by name, float64 (B,); NaN where an image
            is not counted.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: Mapping[str, Figure]

    sums: Tensor  # (F,): sums of the terms of each value
    counts: Tensor  # (F,): images that were counted for it

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        size = len(self.figures)
        self.add_state("sums", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")
        self.terms: dict[str, Tensor] = {}

    def _count(self, *terms: Tensor) -> None:
        """Count the terms (B,) of each value, in the order of ``figures``; NaN is left out."""
        self.terms = {
            name: values.detach().double() for name, values in zip(self.figures, terms, strict=True)
        }
        values = torch.stack(list(self.terms.values())).to(self.sums.device)
        self.sums += values.nansum(dim=1)
        self.counts += (~values.isnan()).sum(dim=1)

    def compute(self) -> Tensor | dict[str, Tensor]:
        """Compute the means; the class docstring lists them."""
        means = dict(zip(self.figures, self.sums / self.counts, strict=True))
        if len(means) == 1:
            return next(iter(means.values()))
        counts = dict(zip(self.figures, self.counts.tolist(), strict=True))
        return {
            name: mean
            for name, mean in means.items()
            if counts[name] > 0 or not self.figures[name].needs
        }
