"""Similarity of two methods' channel weights."""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean


def weight_similarity(weights: Tensor, reference: Tensor) -> Tensor:
    """Compute the cosine of the angle between channel weights (paper 002, Tab. 2).

    Args:
        weights: Channel weights (B, K) of any scale.
        reference: Weights to compare with, likewise, such as SHAP-CAM's of many orderings.

    Returns:
        float64 (B,) in [-1, 1]; 0 where one of the two is 0 in all channels.

    Raises:
        ValueError: If the shapes are not equal and (B, K).
    """
    if weights.ndim != 2 or weights.shape != reference.shape:
        raise ValueError(
            "weights and reference must be (B, K), got "
            f"{tuple(weights.shape)} and {tuple(reference.shape)}"
        )
    first, second = weights.detach().double(), reference.detach().double()
    return F.cosine_similarity(first, second, eps=torch.finfo(torch.float64).tiny)


class WeightSimilarity(ImageMean):
    """Mean over images of `weight_similarity`."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"shap_similarity": Figure(True, short="cos SHAP")}

    def update(self, weights: Tensor, reference: Tensor) -> None:
        """Count a batch; see `weight_similarity` for arguments and errors."""
        self._add(weight_similarity(weights, reference))
