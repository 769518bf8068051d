"""Rightness of F-CAM's pseudo-labels, in expectation over their draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.losses import background_chances, foreground_regions

_IGNORED = 255  # in masks

_OF_EROSIONS = ("fg_right", "fg_known", "fg_size", "fg_judged", "fg_missed", "fg_emptied")
_OF_SHARES = ("bg_right", "bg_known", "bg_size")
_OF_IMAGES = ("any_right", "any_known", "images", "regions")


class SeedShares(NamedTuple):
    """Shares in [0, 1], NaN where there is nothing to count; float64.

    Attributes:
        foreground: Share of the drawn foreground that lies on the object, (E,).
        missed: Share of the images whose foreground region has no pixel on the object, (E,).
        size: Mean share of the image in the foreground region, (E,).
        emptied: Share of the images whose region the erosion would have emptied, (E,).
        background: Share of the drawn background that lies off the object, (S,).
        background_size: Mean share of the image in the background region, (S,).
        anywhere: Share on the object of squares that are drawn anywhere, scalar.
        without: Share of the images whose map has no region at all, scalar.
        images: Number of images, scalar.
    """

    foreground: Tensor
    missed: Tensor
    size: Tensor
    emptied: Tensor
    background: Tensor
    background_size: Tensor
    anywhere: Tensor
    without: Tensor
    images: Tensor


class SeedCounts(Metric):
    """Rightness of the pixels that F-CAM draws from maps, for all erosions and background shares.

    One pixel of each kind per image, as in the paper: the share is that of the expected number of
    right pixels among the expected number of pixels whose truth is known, over uniform draws from
    the regions of `losses.sampling_regions`, each with the square around it and summed over the
    images. Nothing is drawn. A map without regions draws nothing, an image without truth counts for
    nothing. Left aside is that pixels lose their label where the squares of both kinds meet.

    Args:
        erosions: Sides of the E squares that erode the foreground, in pixels of the maps, odd or 0.
        shares: The S shares of the pixels that may be background, in [0, 1].
        dilation: Side of the square around a drawn pixel, odd.
        **options: See `torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    def __init__(
        self, erosions: Sequence[int], shares: Sequence[float], dilation: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self.erosions = list(erosions)
        self.shares = list(shares)
        self.dilation = dilation
        shapes = dict.fromkeys(_OF_EROSIONS, (len(erosions),))
        shapes |= dict.fromkeys(_OF_SHARES, (len(shares),)) | dict.fromkeys(_OF_IMAGES, ())
        for name, shape in shapes.items():
            zeros = torch.zeros(shape, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, maps: Tensor, masks: Tensor) -> None:
        """Count a batch.

        Args:
            maps: Floating-point maps of shape (B, H, W) in [0, 1].
            masks: Truth uint8 (B, H, W): 1 object, 0 background, 255 unknown.
        """
        known = masks != _IGNORED
        rows = known.flatten(1).any(1)
        if not rows.any():
            return
        maps, known, objects = maps[rows], known[rows], masks[rows] == 1
        near_known, near_objects = (squares(part, self.dilation) for part in (known, objects))
        self.images += len(maps)
        self.any_right += near_objects.mean((1, 2)).sum()
        self.any_known += near_known.mean((1, 2)).sum()
        self._count_foreground(maps, known, objects, near_known, near_objects)
        chances = background_chances(maps, self.shares)
        for index, chance in enumerate(chances):
            drawn = chance / chance.sum((1, 2), keepdim=True).clamp(min=1)
            self.bg_known[index] += (drawn * near_known).sum()
            self.bg_right[index] += (drawn * (near_known - near_objects)).sum()
            self.bg_size[index] += chance.mean((1, 2)).sum()

    def _count_foreground(
        self, maps: Tensor, known: Tensor, objects: Tensor, near_known: Tensor, near_objects: Tensor
    ) -> None:
        regions, emptied = foreground_regions(maps, self.erosions)
        self.regions += regions[0].flatten(1).any(1).sum()
        self.fg_emptied += emptied.sum(1)
        for index, region in enumerate(regions):
            drawn = region / region.sum((1, 2), keepdim=True).clamp(min=1).double()
            self.fg_known[index] += (drawn * near_known).sum()
            self.fg_right[index] += (drawn * near_objects).sum()
            self.fg_size[index] += region.double().mean((1, 2)).sum()
            judged = (region & known).flatten(1).any(1)
            self.fg_judged[index] += judged.sum()
            self.fg_missed[index] += (judged & ~(region & objects).flatten(1).any(1)).sum()

    def compute(self) -> SeedShares:
        """Divide the sums."""
        return SeedShares(
            foreground=self.fg_right / self.fg_known,
            missed=self.fg_missed / self.fg_judged,
            size=self.fg_size / self.regions,
            emptied=self.fg_emptied / self.regions,
            background=self.bg_right / self.bg_known,
            background_size=self.bg_size / self.regions,
            anywhere=self.any_right / self.any_known,
            without=1 - self.regions / self.images,
            images=self.images,
        )


def squares(pixels: Tensor, side: int) -> Tensor:
    """Count the marked pixels (B, H, W) in the square around each pixel, float64 (B, H, W)."""
    counts = F.avg_pool2d(pixels.double(), side, 1, side // 2, divisor_override=1)
    return counts.round()
