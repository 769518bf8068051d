"""Importance that a map gives to the parts of an object."""

from __future__ import annotations

import torch
from torch import Tensor

#: Ways to make one number of a map's pixels in a region: their ``"mean"``, in which a constant map
#: gives all regions the same, or their ``"sum"``, as Hesse et al. 2023, in which the largest region
#: gets most of a constant map.
IMPORTANCES = ("mean", "sum")

_DECIMALS = 9  # Sums of equal numbers differ by rounding, which must not rank them


def part_importance(
    saliency: Tensor, regions: Tensor, kind: str = "mean", parts: int = 4
) -> Tensor:
    r"""Compute the share of a map that each region has, however the map was made.

    With :math:`A` the map and :math:`M_r` the pixels of region r, for ``"sum"``

    .. math:: I_r = \sum_{x \in M_r} A(x) \Big/ \sum_x A(x),

    the part importance of Hesse et al. 2023 (Sec. 4.1) over the total, by which their parts are
    compared with a threshold; and for ``"mean"``, with :math:`a_r` the mean of A in region r, P the
    parts and :math:`a_0` the mean of A outside of all parts,

    .. math:: I_r = a_r \Big/ \Big(a_0 + \sum_{p \in P} a_p\Big).

    A map that is zero wherever a share is taken of it, and a region without pixels, give 0. The
    scale of the map, which two maps that are normalized one by one do not share, cancels.

    Args:
        saliency: Maps of 0 and more, (B, H, W).
        regions: Pixels of each region, bool (B, R, H, W); the first are the parts.
        kind: One of ``IMPORTANCES``.
        parts: Number of parts among the regions, P; the others are regions outside of them.

    Returns:
        Shares, float64 (B, R) in [0, 1], rounded to nine decimals so that equal ones are equal.

    Raises:
        TypeError: If ``regions`` is not bool.
        ValueError: If the shapes do not fit, ``kind`` is unknown or a map is negative.
    """
    _check(saliency, regions, kind, parts)
    maps, weights = saliency.double(), regions.double()
    sums = torch.einsum("bhw,brhw->br", maps, weights)
    if kind == "sum":
        values, total = sums, maps.sum((1, 2))
    else:
        values = sums / weights.sum((2, 3)).clamp(min=1)
        outside = ~regions[:, :parts].any(1)
        rest = (maps * outside).sum((1, 2)) / outside.sum((1, 2)).clamp(min=1)
        total = rest + values[:, :parts].sum(1)
    shares = torch.where(total[:, None] > 0, values / total[:, None], torch.zeros_like(values))
    return shares.round(decimals=_DECIMALS)


def _check(saliency: Tensor, regions: Tensor, kind: str, parts: int) -> None:
    if kind not in IMPORTANCES:
        raise ValueError(f"kind must be one of {IMPORTANCES}, got {kind!r}")
    if regions.dtype != torch.bool:
        raise TypeError(f"regions must be bool, got {regions.dtype}")
    if regions.ndim != 4 or regions[:, 0].shape != saliency.shape or regions.shape[1] < parts:
        raise ValueError(
            f"expected saliency (B, H, W) and regions (B, R, H, W) of at least {parts} parts, got "
            f"{tuple(saliency.shape)} and {tuple(regions.shape)}"
        )
    if not bool((saliency >= 0).all()):
        raise ValueError("saliency must be 0 or more, without NaN")
