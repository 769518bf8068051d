from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from skimage.feature import hog
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from learned_saliency.metrics.checks import check_saliency, constant_maps
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.rank_correlation import correlation, rank_correlation

_LEAST = 11  # pixels of a side: the window of SSIM
_CELLS = 14  # cells of HOG along the shorter side: 16 pixels of 224, as in the published test
_NAMES = ("rank_correlation", "absolute_rank_correlation", "ssim", "hog")


def hog_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Compute Pearson's correlation of the maps' histograms of oriented gradients (HOG).

    The histograms are those of Dalal and Triggs with 9 orientations, blocks of 3 x 3 cells, and
    cells of 16 pixels for a side of 224, in proportion for others.

    Args:
        first: Maps (B, H, W) in [0, 1], of at least 11 pixels along each side.
        second: Maps (B, H, W) in [0, 1].

    Returns:
        Correlations in [-1, 1], float64 (B,); 0 where a map is constant and has no gradients.

    Raises:
        ValueError: If shapes differ, are not (B, H, W), or are too small.
    """
    _check_pair(first, second)
    _check_size(first)
    return correlation(_histograms(first), _histograms(second))


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Compute the structural similarity SSIM of two maps per image, range 1.

    The window is Wang et al.'s: Gaussian, 11 pixels wide, of deviation 1.5. The mean is over the
    windows that lie within the image, as theirs and scikit-image's.

    Args:
        first: Maps (B, H, W) in [0, 1], of at least 11 pixels along each side.
        second: Maps (B, H, W) in [0, 1].

    Returns:
        Similarities in [-1, 1], float64 (B,).

    Raises:
        ValueError: If shapes differ, are not (B, H, W), or are too small.
    """
    _check_pair(first, second)
    _check_size(first)
    pair = (maps.double()[:, None] for maps in (first, second))
    _, windows = structural_similarity_index_measure(
        *pair, data_range=1.0, reduction="none", return_full_image=True
    )
    border = _LEAST // 2
    return windows[..., border:-border, border:-border].flatten(1).mean(1)


class MapSimilarity(Metric):
    """Mean similarity of two maps of the same image (Adebayo et al. 2018; paper 000, App. F).

    ``compute`` gives float64 scalars, NaN before any image counted:

    - ``rank_correlation`` and ``absolute_rank_correlation``: Spearman's of the raw maps, with their
      signs and without, see `rank_correlation`; equal where raw maps have no negative values;
    - ``ssim``: `structural_similarity` of the maps;
    - ``hog``: `hog_correlation` of the maps;
    - ``flat``: share of images whose first map is constant.

    An image whose first map is constant is left out of the four means: such a map shows nothing
    that could be lost. Where the second map alone is constant, all is lost, and each of the four is
    0 (SSIM is between 0 and 1 there).
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {
        "rank_correlation": Figure(None, short="rank", target=0.0),
        "absolute_rank_correlation": Figure(None, headline=False, target=0.0),
        "ssim": Figure(None, short="SSIM", target=0.0),
        "hog": Figure(None, short="HOG", target=0.0),
        "flat": Figure(None, headline=False),
    }

    totals: Tensor  # (4,): sums of the similarities
    counted: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        state = torch.zeros(len(_NAMES), dtype=torch.float64)
        self.add_state("totals", state, dist_reduce_fx="sum")
        self.add_state("counted", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        first: Tensor,
        second: Tensor,
        raw_first: Tensor | None = None,
        raw_second: Tensor | None = None,
    ) -> None:
        """Count a batch.

        Args:
            first: Maps (B, H, W) in [0, 1], of at least 11 pixels along each side.
            second: Maps of the same images, (B, H, W) in [0, 1].
            raw_first: The first maps before they were scaled, (B, h, w), any range; None for
                ``first``.
            raw_second: Likewise of the second maps.

        Raises:
            TypeError: If a map is not of a floating type.
            ValueError: If a map leaves [0, 1], or shapes differ or are too small.
        """
        check_saliency(first)
        check_saliency(second)
        _check_pair(first, second)
        _check_size(first)
        raw_first = first if raw_first is None else raw_first
        raw_second = second if raw_second is None else raw_second
        kept = ~constant_maps(first)
        self.images += len(first)
        self.counted += kept.sum().to(self.counted.device)
        if not bool(kept.any()):
            return
        maps = first[kept], second[kept]
        raw = raw_first[kept], raw_second[kept]
        values = torch.stack(
            [
                rank_correlation(*raw),
                rank_correlation(raw[0].abs(), raw[1].abs()),
                structural_similarity(*maps),
                hog_correlation(*maps),
            ],
            dim=1,
        )
        values[constant_maps(maps[1])] = 0
        self.totals += values.sum(0).to(self.totals.device)

    def compute(self) -> dict[str, Tensor]:
        """Compute the means; the class docstring lists them."""
        means = self.totals / self.counted
        return dict(zip(_NAMES, means, strict=True)) | {
            "flat": 1 - self.counted.double() / self.images
        }


def _histograms(maps: Tensor) -> Tensor:
    """Compute the HOG of maps (B, H, W): (B, N)."""
    cell = max(min(maps.shape[1:]) // _CELLS, 2)
    shape = {"pixels_per_cell": (cell, cell), "cells_per_block": (3, 3)}
    found = [hog(each, **shape) for each in maps.detach().double().cpu().numpy()]
    return torch.from_numpy(np.stack(found)).to(maps.device)


def _check_pair(first: Tensor, second: Tensor) -> None:
    if first.dim() != 3 or first.shape != second.shape:
        raise ValueError(
            f"expected two tensors (B, H, W), got {tuple(first.shape)}, {tuple(second.shape)}"
        )


def _check_size(maps: Tensor) -> None:
    if min(maps.shape[1:]) < _LEAST:
        raise ValueError(
            f"maps must have at least {_LEAST} pixels along each side, got {tuple(maps.shape[1:])}"
        )
