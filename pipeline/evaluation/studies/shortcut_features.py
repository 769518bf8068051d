"""Features of maps for the study ``shortcuts``: place, extent, color and share on the object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.trainers import Kept, gathered

CELLS = 3  # along each side of the grid of places
COARSE = 16  # cells along each side of the maps that clusters average
FRAME = 1 / 8  # width of the border, fraction of the side
IGNORED = 255  # value in masks

_XYZ = (  # from linear sRGB
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)  # D65

#: Features of a map, beside the shares of the grid's cells, by column.
COLUMNS = ("x", "y", "extent", "border", "L", "a", "b", "rest_L", "rest_a", "rest_b", "on_object")


class MapSet(NamedTuple):
    """Maps of one method on N images of a split, in the order of the split.

    Attributes:
        index: Place of each image in the split, int64 (N,).
        classes: Class that each map explains, int64 (N,), -1 where it is not known.
        flat: Whether a map is constant, bool (N,).
        area: Share of the image that the object covers, (N,), NaN without truth.
        features: Columns of ``COLUMNS`` (N, 11); of a flat map zeros or NaN.
        grid: Share of the evidence in each cell of the 3 x 3 grid, row by row, (N, 9).
        coarse: Evidence on a grid of 16 x 16 cells, (N, 16, 16), each with the mean 1.
    """

    index: np.ndarray
    classes: np.ndarray
    flat: np.ndarray
    area: np.ndarray
    features: np.ndarray
    grid: np.ndarray
    coarse: np.ndarray

    def rows(self, chosen: np.ndarray) -> MapSet:
        """Take some images; ``chosen`` are places in the set or a mask of it."""
        return MapSet(*(values[chosen] for values in self))

    def column(self, name: str) -> np.ndarray:
        """Return a feature (N,) by its name."""
        return self.features[:, COLUMNS.index(name)]


def evidence(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the evidence of maps: what they have above their own mean, scaled to the sum 1.

    It does not depend on scale and offset of a map, so that a dark haze over the whole image, which
    normalization leaves in many maps, counts for nothing.

    Args:
        maps: Shape (B, H, W), finite.

    Returns:
        Evidence (B, H, W), zeros for a flat map, and whether each map is flat, bool (B,).
    """
    maps = maps.double()
    flat = maps.amax((1, 2)) <= maps.amin((1, 2))
    above = (maps - maps.mean((1, 2), keepdim=True)).clamp(min=0)
    above = torch.where(flat[:, None, None], 0.0, above)
    total = above.sum((1, 2), keepdim=True)
    return above / torch.where(total > 0, total, 1.0), flat


def map_features(
    shares: Tensor, lab: Tensor, regions: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Describe evidence by numbers.

    - ``x``, ``y``: its center of mass, in [0, 1] from the left and from the top;
    - ``extent``: its participation ratio, the share of the image that evidence of equal strength
      would cover to be as spread out, in (0, 1];
    - ``border``: its share within an eighth of the side from the image's border;
    - ``L``, ``a``, ``b``: mean color under it in CIE L*a*b*, and ``rest_...`` of all pixels without
      any;
    - ``on_object``: its share on the object, of what is not to be ignored.

    Args:
        shares: Evidence (B, H, W) that sums to 1, or to 0 for a flat map.
        lab: Colors of the images (B, 3, H, W), float64.
        regions: Truth, uint8 (B, H, W): 0 background, 1 object, 255 ignore; None without.

    Returns:
        Features (B, 11) by ``COLUMNS``, shares of the grid (B, 9), both float32, and the evidence
        on the coarse grid, float16 (B, 16, 16).
    """
    height, width = shares.shape[1:]
    down, across = _centers(height, shares), _centers(width, shares)
    x, y = (shares.sum(1) * across).sum(1), (shares.sum(2) * down).sum(1)
    squares = shares.square().sum((1, 2)) * height * width
    extent = torch.where(squares > 0, 1 / squares, 0.0)
    inner = shares[:, (down > FRAME) & (down < 1 - FRAME)][
        :, :, (across > FRAME) & (across < 1 - FRAME)
    ]
    border = shares.sum((1, 2)) - inner.sum((1, 2))
    color = torch.einsum("bhw,bchw->bc", shares, lab)
    without = (shares == 0).double()
    rest = torch.einsum("bhw,bchw->bc", without, lab) / without.sum((1, 2))[:, None]
    on_object = _on_object(shares, regions)
    features = torch.stack([x, y, extent, border, *color.T, *rest.T, on_object], 1)
    rows, columns = (F.one_hot((at * CELLS).long(), CELLS).double() for at in (down, across))
    grid = torch.einsum("bhw,hr,wc->brc", shares, rows, columns).flatten(1)
    coarse = F.adaptive_avg_pool2d(shares[:, None], COARSE)[:, 0] * height * width
    return features.float(), grid.float(), coarse.half()


def _centers(side: int, like: Tensor) -> Tensor:
    """Return the centers of a side's pixels in (0, 1)."""
    return (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) / side


def _on_object(shares: Tensor, regions: Tensor | None) -> Tensor:
    if regions is None:
        return shares.new_full((len(shares),), float("nan"))
    on = (shares * (regions == 1)).sum((1, 2))
    found = on / (shares * (regions != IGNORED)).sum((1, 2))
    return torch.where((regions == 1).any(2).any(1), found, float("nan"))


def object_area(regions: Tensor) -> Tensor:
    """Compute the share (B,) of the pixels that are not to be ignored that the object covers."""
    area = (regions == 1).sum((1, 2)) / (regions != IGNORED).sum((1, 2))
    return torch.where(area > 0, area, float("nan"))


def lab_colors(colors: Tensor) -> Tensor:
    """Convert images (B, 3, H, W), sRGB in 0..255, to CIE L*a*b* (D65), L* in 0..100."""
    values = colors.double().clamp(0, 255) / 255
    linear = torch.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    xyz = torch.einsum("kc,bchw->bkhw", linear.new_tensor(_XYZ), linear)
    xyz = xyz / xyz.new_tensor(_WHITE)[:, None, None]
    x, y, z = torch.where(xyz > 0.008856, xyz ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


class FeatureTable(Kept):
    """Features of all maps of a split, gathered batch by batch and kept in a journal.

    Args:
        methods: Names of the methods.
    """

    def __init__(self, methods: list[str]) -> None:
        self.methods = methods
        self._batches: list[dict[str, Any]] = []

    def kept(self) -> list[dict[str, Any]]:
        """Return what was gathered so far."""
        return list(self._batches)

    def take(self, kept: list[dict[str, Any]]) -> None:
        """Add batches of before."""
        self._batches += kept

    def add(
        self,
        index: Tensor,
        classes: Tensor,
        maps: Mapping[str, Tensor],
        lab: Tensor,
        regions: Tensor | None,
    ) -> None:
        """Add the maps of a batch.

        Args:
            index: Places of the images in the split, int64 (B,).
            classes: Explained classes, int64 (B,).
            maps: Maps (B, H, W) by method.
            lab: See `map_features`.
            regions: See `map_features`.
        """
        area = torch.full((len(index),), float("nan")) if regions is None else object_area(regions)
        found: dict[str, Any] = {"index": index, "classes": classes, "area": area, "maps": {}}
        for name, saliency in maps.items():
            shares, flat = evidence(saliency)
            parts = flat, *map_features(shares, lab, regions)
            found["maps"][name] = [part.cpu() for part in parts]
        for key in ("index", "classes", "area"):
            found[key] = found[key].cpu()
        self._batches.append(found)

    def result(self) -> dict[str, MapSet]:
        """Join the batches of all processes, every one of which has to call this."""
        batches = [batch for share in gathered(self._batches) for batch in share]
        return {name: _joined(batches, name) for name in self.methods}


def _joined(batches: list[dict[str, Any]], method: str) -> MapSet:
    about = [[batch[key] for batch in batches] for key in ("index", "classes", "area")]
    of_maps = zip(*(batch["maps"][method] for batch in batches), strict=True)
    index, classes, area, flat, features, grid, coarse = (
        torch.cat(list(parts)).numpy() for parts in (*about, *of_maps)
    )
    order = np.argsort(index, kind="stable")
    area, features, grid = (values.astype(float) for values in (area, features, grid))
    found = MapSet(index, classes, flat, area, features, grid, coarse)
    return found.rows(order)
