from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_terms import ImageTerms
from learned_saliency.metrics.truth import box_union, check_region, mask_region


def pointing_hits(
    saliency: Tensor, region: Tensor, tolerance: float = 0, counted: Tensor | None = None
) -> Tensor:
    """Tell whether the maximum of each map lies in a region (paper 000, Eq. A6).

    Where several pixels share the maximum, the hit is the share of these pixels that hit, which is
    what drawing one of them at random gives on average: a map of one value has the region's share
    of the image, and a binary map within the region has 1.

    Args:
        saliency: Maps (B, H, W) in [0, 1].
        region: Whether a pixel is in the region, bool (B, H, W).
        tolerance: Distance in pixels of the map, centers of pixels to centers, up to which a pixel
            beside the region hits, too; at least 0.
        counted: Whether a pixel may be the maximum, bool (B, H, W); None for all.

    Returns:
        Hits in [0, 1], float64 (B,); NaN where the region is empty.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If shapes differ, a map leaves [0, 1] or ``tolerance`` is below 0.
    """
    check_saliency(saliency)
    check_region(region, saliency)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    values = saliency.detach()
    if counted is not None:
        check_region(counted, saliency, "counted")
        values = values.masked_fill(~counted, -1)
    peaks = values == values.amax(dim=(1, 2), keepdim=True)
    near = _grown(region, tolerance) if tolerance > 0 else region
    hits, tied = ((peaks & where).flatten(1).sum(1).double() for where in (near, peaks))
    return (hits / tied).masked_fill(~region.flatten(1).any(1), torch.nan)


class _Pointing(ImageTerms):
    """Mean over images of `pointing_hits`, under a name that tells the tolerance."""

    higher_is_better = True
    name: ClassVar[str]

    def __init__(self, tolerance: float = 0, **kwargs: Any) -> None:
        if not tolerance >= 0:
            raise ValueError(f"tolerance must be at least 0, got {tolerance}")
        self.tolerance = tolerance
        super().__init__(**kwargs)

    @property
    def figures(self) -> Mapping[str, Figure]:
        """Declaration of the value."""
        name = f"{self.name}_{self.tolerance:g}" if self.tolerance > 0 else self.name
        return {name: Figure(True, headline=False, in_pixels=self.tolerance > 0)}


class PointingGame(_Pointing):
    """Standard pointing game: whether the maximum of a map lies in a true box.

    SP of paper 000, App. C, Eq. A6, over the union of the true boxes, whose far edges lie inside,
    see `box_union`. Ties at the maximum share the hit, see `pointing_hits`: a constant map has the
    boxes' share of the image. An image whose boxes hold no pixel of it is not counted.

    Args:
        tolerance: Distance in pixels of the map up to which a maximum beside the boxes hits; Zhang
            et al. (IJCV 2018) take 15 pixels. The value is called ``pointing_game``, and with a
            tolerance ``pointing_game_15``.

    Raises:
        ValueError: If ``tolerance`` is below 0.

    Note:
        Paper 000 has 99.8 for Fake-CAM, ones but for one pixel, which is what one tied maximum that
        hits being enough gives. Here it has the boxes' share.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    name = "pointing_game"

    def update(self, saliency: Tensor, boxes: Sequence[Tensor]) -> None:
        """Count a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            boxes: True boxes of each map; see `box_union`, as for the errors.
        """
        self._count(pointing_hits(saliency, box_union(boxes, saliency), self.tolerance))


class MaskPointingGame(_Pointing):
    """Pointing game with masks: whether the maximum of a map lies on the object.

    As `PointingGame`, with the value ``mask_pointing_game``. Pixels that the mask says to ignore
    are left out: they are neither the maximum nor the object. An image without an object pixel is
    not counted.

    Args:
        tolerance: See `PointingGame`.

    Raises:
        ValueError: If ``tolerance`` is below 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    name = "mask_pointing_game"

    def update(self, saliency: Tensor, masks: Tensor) -> None:
        """Count a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            masks: True masks (B, H, W), uint8; see `mask_region`, as for the errors.
        """
        region, counted = mask_region(masks, saliency)
        self._count(pointing_hits(saliency, region, self.tolerance, counted))


def _grown(region: Tensor, tolerance: float) -> Tensor:
    """Add the pixels up to a distance from a region (B, H, W); an empty region stays empty."""
    grown = np.zeros(region.shape, bool)
    for near, inside in zip(grown, region.cpu().numpy(), strict=True):
        if inside.any():
            outside = (~inside).view(np.uint8)
            distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            near[:] = distance <= tolerance
    return torch.from_numpy(grown).to(region.device)
