"""Poolings of class maps to class scores, each with its derivative."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from learned_saliency.ops import widen


class Pooling(nn.Module):
    """A pooling of class maps (B, C, h, w) to logits (B, C), each map by itself.

    A subclass gives ``forward`` and `derivative`.

    Attributes:
        is_mean: Whether it is the mean of all cells. It then commutes with the 1x1 convolution that
            makes the maps, so that a classifier may pool its features first.
        modalities: Maps M that the last layer has for each class; their mean is the class map.
    """

    is_mean: ClassVar[bool] = False
    modalities: int = 1

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (B, C, h, w) to (B, C), at least float32.

        Raises:
            ValueError: If the maps have too few cells.
        """
        raise NotImplementedError

    def derivative(self, maps: Tensor) -> Tensor:
        """Compute the derivative of each pooled map by its cells.

        Args:
            maps: Shape (..., h, w).

        Returns:
            Shape (..., h, w), at least float32.

        Raises:
            ValueError: If the maps have too few cells.
        """
        raise NotImplementedError


class GlobalAverage(Pooling):
    """Mean over all cells (Zhou et al., CVPR 2016), in the precision of what it is given."""

    is_mean = True

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the means (B, C) of maps (B, C, h, w)."""
        return maps.mean(dim=(2, 3))

    def derivative(self, maps: Tensor) -> Tensor:
        """Return 1 / (h w) everywhere."""
        return torch.full_like(widen(maps), 1 / maps.shape[-2:].numel())


class GlobalMaximum(Pooling):
    """Largest cell (Oquab et al., Is object localization for free?, CVPR 2015).

    Where several cells are the largest, they share the derivative.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the maxima (B, C) of maps (B, C, h, w)."""
        return widen(maps).amax(dim=(2, 3))

    def derivative(self, maps: Tensor) -> Tensor:
        """Return 1 at the largest cell, else 0."""
        maps = widen(maps)
        largest = (maps == maps.amax(dim=(-2, -1), keepdim=True)).to(maps.dtype)
        return largest / largest.sum(dim=(-2, -1), keepdim=True)


class LogSumExp(Pooling):
    """Smooth maximum, 1/r log(1/(h w) sum_ij exp(r s_ij)) (Pinheiro and Collobert, CVPR 2015).

    It lies between the mean, for small r, and the maximum, for large r; its derivative is a
    softmax over the cells.

    Args:
        r: Sharpness, above 0. The equation's authors leave it open; 10 was the best of Wang et al.
            (ChestX-ray8, CVPR 2017).

    Raises:
        ValueError: If ``r`` is not above 0.
    """

    def __init__(self, r: float = 10.0) -> None:
        super().__init__()
        if not r > 0:
            raise ValueError(f"r must be above 0, got {r}")
        self.r = r

    def forward(self, maps: Tensor) -> Tensor:
        """Compute the smooth maxima (B, C) of maps (B, C, h, w)."""
        scaled = self.r * widen(maps).flatten(2)
        return (scaled.logsumexp(dim=2) - math.log(scaled.shape[2])) / self.r

    def derivative(self, maps: Tensor) -> Tensor:
        """Compute the softmax over all cells of r times the maps."""
        return (self.r * widen(maps)).flatten(-2).softmax(dim=-1).view_as(maps)


class Wildcat(Pooling):
    """WILDCAT's pooling (Durand et al., CVPR 2017): the highest cells, and the lowest ones.

    The mean of the k+ highest cells plus alpha times the mean of the k- lowest ones, of maps that
    are means of M modalities. Where cells are equal at the border of the k, any of them counts.

    Departure from the released code: that halves the sum, which the paper's equation does not.

    Note:
        The mean of M modalities is one linear layer, the mean of their weights, and is computed as
        such, which changes neither results nor training. Each modality gets 1/M of the gradient,
        so the class's weights begin smaller and learn M times more slowly.

    Args:
        modalities: M, at least 1; 4 in the paper.
        highest: k+: a fraction of the cells where it is below 1, else a number of cells; 0.2 is
            the released code's for VOC.
        lowest: k-, in the same way; the released code takes that of the highest.
        lowest_weight: alpha, at least 0; 0.7 in the paper.

    Raises:
        ValueError: If an argument is out of range; when called, if a map has fewer cells.
    """

    def __init__(
        self,
        modalities: int = 4,
        highest: float = 0.2,
        lowest: float = 0.2,
        lowest_weight: float = 0.7,
    ) -> None:
        super().__init__()
        if modalities < 1:
            raise ValueError(f"modalities must be at least 1, got {modalities}")
        for name, cells in (("highest", highest), ("lowest", lowest)):
            if cells <= 0 or (cells > 1 and cells != int(cells)):
                raise ValueError(
                    f"{name} must be a fraction of the cells, below 1, or a number of them, got "
                    f"{cells}"
                )
        if lowest_weight < 0:
            raise ValueError(f"lowest_weight must be at least 0, got {lowest_weight}")
        self.modalities = modalities
        self.highest = highest
        self.lowest = lowest
        self.lowest_weight = lowest_weight

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (B, C, h, w), which are means of the modalities, to (B, C)."""
        cells = widen(maps).flatten(2)
        highest, lowest = self._counts(cells.shape[2])
        pooled = cells.topk(highest, dim=2).values.mean(dim=2)
        return pooled + self.lowest_weight * cells.topk(lowest, 2, largest=False).values.mean(dim=2)

    def derivative(self, maps: Tensor) -> Tensor:
        """Return 1/k+ at the highest cells, plus alpha/k- at the lowest ones, else 0."""
        cells = widen(maps).flatten(-2)
        highest, lowest = self._counts(cells.shape[-1])
        chosen = cells.topk(highest, dim=-1).indices
        found = torch.zeros_like(cells).scatter(-1, chosen, 1 / highest)
        chosen = cells.topk(lowest, dim=-1, largest=False).indices
        shares = torch.zeros_like(cells).scatter(-1, chosen, self.lowest_weight / lowest)
        return (found + shares).view_as(maps)

    def _counts(self, cells: int) -> tuple[int, int]:
        """Compute k+ and k- of maps with a number of cells."""
        found = []
        for name in ("highest", "lowest"):
            wanted = getattr(self, name)
            count = int(wanted) if wanted >= 1 else max(1, round(wanted * cells))
            if count > cells:
                raise ValueError(
                    f"head.wildcat.{name}={wanted} takes more cells than the {cells} of a class map"
                )
            found.append(count)
        return found[0], found[1]
