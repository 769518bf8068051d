"""Concentration of maps on few pixels, without any ground truth."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_terms import ImageTerms
from learned_saliency.metrics.sorting import sort_rows


def gini_index(saliency: Tensor) -> Tensor:
    """Compute the Gini index of each map's pixels (Chalasani et al., ICML 2020, Sec. 5).

    G = 1 - 2 sum_k v_k (N - k + 0.5) / (N sum_k v_k), v_1 <= ... <= v_N.

    Args:
        saliency: Maps (B, H, W) in [0, 1].

    Returns:
        float64 (B,) in [0, 1 - 1 / N]: 0 for a map of one value, also of zeros, 1 - 1 / N where all
        mass is in one pixel.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1].
    """
    check_saliency(saliency)
    values = sort_rows(saliency.detach().flatten(1)).double()
    size = values.shape[1]
    weights = torch.arange(1 - size, size, 2, dtype=torch.float64, device=values.device)
    mass = values.sum(1)
    return (values @ weights / (size * mass)).masked_fill(mass == 0, 0.0).clamp(min=0)


def pixel_entropy(saliency: Tensor) -> Tensor:
    """Compute the entropy of each map's mass over its pixels (Bhatt et al., IJCAI 2020, Sec. 3).

    - sum_p q_p ln q_p, q_p = v_p / sum_p v_p, in nats. Logarithms are of the map's own precision,
      at least float32, and their sum is float64.

    Args:
        saliency: Maps (B, H, W) in [0, 1].

    Returns:
        float64 (B,) in [0, ln N]: 0 where all mass is in one pixel, ln N for a map of one value,
        also of zeros.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1].
    """
    check_saliency(saliency)
    values = saliency.detach().flatten(1)
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    mass = values.sum(1, dtype=torch.float64)
    scattered = torch.special.entr(values).sum(1, dtype=torch.float64)  # - sum v ln v
    entropy = (scattered / mass + mass.log()).clamp(min=0)
    return entropy.masked_fill(mass == 0, math.log(values.shape[1]))


class Sparseness(ImageTerms):
    """Sparseness: mean Gini index of the maps' pixels, see `gini_index`.

    Ties do not matter. A constant map has 0, the worst. The highest has a map of one pixel, so the
    value tells how few pixels a map names, and not whether they are the right ones.
    """

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"sparseness": Figure(True, headline=False)}

    def update(self, saliency: Tensor) -> None:
        """Count a batch; see `gini_index` for the argument and errors."""
        self._count(gini_index(saliency))


class Complexity(ImageTerms):
    """Complexity: mean entropy of the maps' mass over their pixels in nats, see `pixel_entropy`.

    Ties do not matter. A constant map has ln N of N pixels, the worst. The lowest, 0, has a map of
    one pixel.
    """

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {
        "complexity": Figure(False, headline=False, unit="nats", in_pixels=True)
    }

    def update(self, saliency: Tensor) -> None:
        """Count a batch; see `pixel_entropy` for the argument and errors."""
        self._count(pixel_entropy(saliency))
