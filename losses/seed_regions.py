"""Regions of a CAM from which F-CAM draws pseudo-labels (Eq. 1)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.losses.random_pixels import nth_pixel, random_integers, row_ends
from learned_saliency.ops import otsu_of_levels, to_8_bit


class SamplingRegions(NamedTuple):
    """Regions from which seeds may be drawn (F-CAM, Eq. 1): boolean (B, H, W), may overlap."""

    foreground: Tensor
    background: Tensor


def sampling_regions(
    maps: Tensor,
    background_share: float,
    erosion: int = 11,
    generator: torch.Generator | None = None,
    check: bool = True,
) -> SamplingRegions:
    """Split each map into the pixels that may be foreground and background (F-CAM, Eq. 1).

    Foreground is what lies above Otsu's threshold of the 8-bit map (threshold 0 is raised to 1),
    eroded once by a square; pixels outside the image count as foreground, and a region that the
    erosion would empty stays whole. Background is the ``int(background_share * H * W)`` lowest
    pixels. A map with a single 8-bit level has neither region.

    Args:
        maps: Floating-point maps of shape (B, H, W) in [0, 1], usually upscaled CAMs.
        background_share: Share of the pixels that may be background, in [0, 1]; n^- in the paper.
        erosion: Side of the eroding square in pixels, odd; 0 for none.
        generator: Where more pixels share the last value than belong to the background, a run of
            these pixels in reading order is taken, from a random start. Without a generator the
            run starts at the first of them. On the device of ``maps``.
        check: Whether to reject values outside, for which alone the host of a GPU would wait.

    Returns:
        Both regions, boolean, on the device of ``maps``.

    Raises:
        TypeError: If ``maps`` is neither floating point nor uint8.
        ValueError: If ``maps`` is not 3-D, is empty, holds a NaN or leaves [0, 1], or if an option
            is out of its range.
    """
    check_share(background_share)
    check_side("erosion", erosion, allow_zero=True)
    above, varies = _above_otsu(maps, check)
    foreground = _eroded(above, erosion)[0]
    background = _lowest(maps.detach(), background_share, generator) & varies
    return SamplingRegions(foreground, background)


class ForegroundRegions(NamedTuple):
    """Foreground regions of maps after several erosions.

    Attributes:
        regions: Boolean (E, B, H, W), one per erosion.
        emptied: Whether the erosion would have emptied the region, which therefore stayed whole;
            boolean (E, B).
    """

    regions: Tensor
    emptied: Tensor


def foreground_regions(
    maps: Tensor, erosions: Sequence[int], check: bool = True
) -> ForegroundRegions:
    """Give the foreground of `sampling_regions` for several erosions of the same maps.

    Args:
        maps: See `sampling_regions`.
        erosions: Sides of E eroding squares in pixels, odd; 0 for none.
        check: See `sampling_regions`.

    Raises:
        TypeError: See `sampling_regions`.
        ValueError: See `sampling_regions`.
    """
    for erosion in erosions:
        check_side("erosion", erosion, allow_zero=True)
    above, _ = _above_otsu(maps, check)
    regions, emptied = zip(*(_eroded(above, erosion) for erosion in erosions), strict=True)
    return ForegroundRegions(torch.stack(regions), torch.stack(emptied))


def background_chances(maps: Tensor, shares: Sequence[float], check: bool = True) -> Tensor:
    """Compute how likely each pixel is to belong to the background of `sampling_regions`.

    With a generator the run of equal pixels begins at a random one of them, so that each is as
    likely as the others. A pixel below them has 1, one above them 0.

    Args:
        maps: See `sampling_regions`.
        shares: S shares of the pixels that may be background, in [0, 1].
        check: See `sampling_regions`.

    Returns:
        float64 (S, B, H, W) in [0, 1]; the sum over an image is ``int(share * H * W)``, or 0 where
        the map has a single 8-bit level.

    Raises:
        TypeError: See `sampling_regions`.
        ValueError: See `sampling_regions`.
    """
    for share in shares:
        check_share(share)
    varies = _above_otsu(maps, check)[1]
    ordered = maps.detach().flatten(1).sort(dim=1).values
    found = []
    for share in shares:
        count = int(share * ordered.shape[1])
        if count == 0:
            found.append(torch.zeros_like(maps, dtype=torch.float64))
            continue
        last = ordered[:, count - 1].view(-1, 1, 1)
        below, tied = maps < last, maps == last
        needed = count - below.sum(dim=(1, 2))
        chance = needed.double() / tied.sum(dim=(1, 2))
        found.append((below + tied * chance.view(-1, 1, 1)) * varies)
    return torch.stack(found)


def scaled_side(side: int, shape: Sequence[int], reference_size: float | None) -> int:
    """Scale the side of a square, as `DenseCRFLoss` scales its sigma, to the size of the images.

    Args:
        side: Side in pixels of an image of ``reference_size`` squared, odd, or 0.
        shape: Height and width of the images.
        reference_size: Side that ``side`` is meant for, above 0; None leaves it as it is.

    Returns:
        The odd number next to side * sqrt(H W) / reference_size, at least 1, of two equally near
        ones the larger; 0 for 0.
    """
    if reference_size is None or side == 0:
        return side
    return 2 * int(side * math.sqrt(shape[0] * shape[1]) / reference_size / 2) + 1


def _above_otsu(maps: Tensor, check: bool) -> tuple[Tensor, Tensor]:
    """Mark what is above Otsu's threshold, (B, H, W), and the maps that have one, (B, 1, 1)."""
    levels = to_8_bit(maps, check)
    threshold = otsu_of_levels(levels).view(-1, 1, 1)
    varies = threshold >= 0
    # The published sampler also lowers 255 to 254, which Otsu's threshold never reaches.
    used = threshold.clamp(min=1).masked_fill(~varies, 255)
    return levels > used.to(torch.uint8), varies


def _eroded(above: Tensor, erosion: int) -> tuple[Tensor, Tensor]:
    """Erode regions (B, H, W), but for those that this would empty, (B,)."""
    if not erosion:
        return above, above.new_zeros(len(above))
    eroded = ~dilate(~above, erosion)
    emptied = ~eroded.flatten(1).any(dim=1)
    return eroded | (above & emptied.view(-1, 1, 1)), emptied & above.flatten(1).any(dim=1)


def _lowest(maps: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Mark the ``int(share * H * W)`` lowest pixels of each map, (B, H, W) bool.

    Among the pixels with the last value that still counts, a run in reading order is taken; the run
    starts at a random pixel of these and goes on at the top after the last.
    """
    batch, height, width = maps.shape
    count = int(share * height * width)
    if count == 0:
        return torch.zeros_like(maps, dtype=torch.bool)
    lowest = maps.flatten(1).topk(count, dim=1, largest=False, sorted=False).values
    last = lowest.amax(dim=1, keepdim=True)
    needed = (lowest == last).sum(dim=1)
    last = last.unsqueeze(2)
    below, tied = maps < last, maps == last
    tied_ends = row_ends(tied)
    number = tied_ends[:, -1]
    start = torch.zeros_like(number)
    if generator is not None:
        start = random_integers((batch,), generator) % number
    run = torch.stack((start, (start + needed) % number), dim=1)
    first, end = nth_pixel(tied, tied_ends, run).view(batch, 2, 1, 1).unbind(dim=1)
    pixel = torch.arange(height * width, device=maps.device).view(height, width)
    in_run = (pixel >= first) ^ (pixel >= end) ^ (first >= end)  # the last where it goes on at 0
    return below | (tied & in_run)


def dilate(mask: Tensor, side: int) -> Tensor:
    """Dilate (B, H, W) bool by a square; outside the image is False.

    A window of n pixels is the union of two smaller ones, so ``side`` costs about log2(side) unions
    along each axis.
    """
    radius = side // 2
    mask = F.pad(mask, (radius, radius, radius, radius))
    for dim in (1, 2):
        width = 1
        while width < side:
            shift = min(width, side - width)
            length = mask.shape[dim] - shift
            mask = mask.narrow(dim, 0, length) | mask.narrow(dim, shift, length)
            width += shift
    return mask


def check_side(name: str, side: int, allow_zero: bool = False) -> None:
    """Reject a number that is no side of a square centered on a pixel."""
    if (side < 1 or side % 2 == 0) and not (allow_zero and side == 0):
        raise ValueError(f"{name} must be odd{' or 0' if allow_zero else ''}, got {side}")


def check_share(share: float) -> None:
    """Reject a share outside [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"background_share must be in [0, 1], got {share}")
