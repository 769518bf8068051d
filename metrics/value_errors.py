"""Errors of values that a network tells: R2 and the mean absolute error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.figures import VALUES, Figure


class ValueErrors(Metric):
    """Coefficient of determination and mean absolute error of the T values of images.

    ``compute`` gives ``r2``, the mean over values of R^2 = 1 - sum (y - f)^2 / sum (y - mean y)^2,
    at most 1, below 0 for values that are told worse than by their mean; and
    ``mean_absolute_error``, the mean of |y - f| over images and values, in their units. Both are
    NaN before any image was seen, ``r2`` also where a value is the same for all images, up to the
    rounding of float64.

    Args:
        num_values: Number T of values of an image, at least 1.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({VALUES})
    figures: ClassVar[Mapping[str, Figure]] = {
        "r2": Figure(True, progress=True),
        "mean_absolute_error": Figure(False, short="MAE", unit="units"),
    }

    images: Tensor
    sums: Tensor
    squares: Tensor
    errors: Tensor
    squared_errors: Tensor

    def __init__(self, num_values: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")
        for name in ("sums", "squares", "errors", "squared_errors"):
            empty = torch.zeros(num_values, dtype=torch.float64)
            self.add_state(name, empty, dist_reduce_fx="sum")

    def update(self, predicted: Tensor, values: Tensor) -> None:
        """Add images.

        Args:
            predicted: Values told, floating (B, T), in their units.
            values: True values (B, T).

        Raises:
            ValueError: If shapes differ or are not (B, T).
        """
        count = len(self.sums)
        if predicted.shape != values.shape or predicted.shape[1:] != (count,):
            raise ValueError(
                f"expected values (B, {count}), got {tuple(predicted.shape)} and "
                f"{tuple(values.shape)}"
            )
        told, true = predicted.detach().double().to(self.device), values.double().to(self.device)
        self.images += len(true)
        self.sums += true.sum(dim=0)
        self.squares += true.square().sum(dim=0)
        self.errors += (true - told).abs().sum(dim=0)
        self.squared_errors += (true - told).square().sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        """Compute both figures."""
        spread = self.squares - self.sums.square() / self.images
        spread = spread.where(spread > 1e-12 * self.squares, torch.nan)
        return {
            "r2": (1 - self.squared_errors / spread).mean(),
            "mean_absolute_error": (self.errors / self.images).mean(),
        }
