from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric


class ImageMean(Metric):
    """Mean over images of a number that a subclass computes per image and adds by `_add`.

    The mean is NaN before any image was seen.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()

    total: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def _add(self, terms: Tensor) -> None:
        """Add the numbers of some images, float64 (B,)."""
        self.total += terms.sum().to(self.total.device)
        self.images += len(terms)

    def compute(self) -> Tensor:
        """Return the mean over all images, float64."""
        return self.total / self.images
