"""Pseudo-labels for F-CAM: regions of a CAM (Eq. 1) and a few pixels drawn from them (Eq. 2)."""

from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.losses.partial_cross_entropy import IGNORE
from learned_saliency.losses.random_pixels import (
    draw_pixels,
    nth_pixel,
    random_integers,
    row_ends,
)
from learned_saliency.ops import (
    SeedNumbers,
    check_maps,
    label_images,
    otsu_of_levels,
    seed_loops,
    to_8_bit,
)


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
    _check_share(background_share)
    _check_side("erosion", erosion, allow_zero=True)
    levels = to_8_bit(maps, check)
    threshold = otsu_of_levels(levels).view(-1, 1, 1)
    varies = threshold >= 0
    # The published sampler also lowers 255 to 254, which Otsu's threshold never reaches.
    used = threshold.clamp(min=1).masked_fill(~varies, 255)
    foreground = levels > used.to(torch.uint8)
    if erosion:
        eroded = ~_dilate(~foreground, erosion)
        emptied = ~eroded.flatten(1).any(dim=1).view(-1, 1, 1)
        foreground = eroded | (foreground & emptied)
    background = _lowest(maps.detach(), background_share, generator) & varies
    return SamplingRegions(foreground, background)


def pseudo_labels(foreground: Tensor, background: Tensor) -> Tensor:
    """Label the pixels of two masks; a pixel in both gets no label.

    Args:
        foreground: Boolean mask of shape (B, H, W).
        background: Boolean mask of shape (B, H, W).

    Returns:
        Labels of shape (B, H, W), int64: 1 foreground, 0 background, ``IGNORE`` elsewhere.

    Raises:
        TypeError: If a mask is not boolean.
        ValueError: If the masks are not 3-D or differ in shape.
    """
    if foreground.dtype != torch.bool or background.dtype != torch.bool:
        raise TypeError(f"masks must be bool, got {foreground.dtype} and {background.dtype}")
    if foreground.dim() != 3 or foreground.shape != background.shape:
        shapes = f"{tuple(foreground.shape)} and {tuple(background.shape)}"
        raise ValueError(f"masks must both be (B, H, W), got {shapes}")
    return torch.where(foreground ^ background, foreground.long(), IGNORE)


class SeedSampler:
    """Sampler of a few pseudo-labeled pixels per image, anew at each call (F-CAM, Eq. 2).

    Pixels are drawn uniformly and without replacement from each region of
    :func:`sampling_regions`, dilated by a square, and dropped where foreground and background meet.
    A region with fewer pixels than asked for gives all it has.

    Departures from the released code: a map without any pixel above Otsu's threshold gives
    background only (the released code raises an error), and which of several equal pixels belong
    to the background is settled at random at each draw, because a rectified CAM is exactly zero in
    most places and a fixed choice would keep drawing from the same side of the image.

    Args:
        foreground_pixels: Pixels drawn per image from the foreground region, >= 0.
        background_pixels: Pixels drawn per image from the background region, >= 0.
        dilation: Side of the square around a drawn pixel, odd; 1 for the pixel alone.
        erosion: Side of the square that erodes the foreground region, odd; 0 for none.
        background_share: Share of the pixels that may be background, in [0, 1]; n^- in the paper,
            which has no common value but tunes n^- in 0.1..0.7 (Fig. D.2): small where objects
            fill the image (OpenImages), large where they do not (CUB).
        seed: Seed of the sampler's own generator.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        foreground_pixels: int = 1,
        background_pixels: int = 1,
        dilation: int = 3,
        erosion: int = 11,
        background_share: float = 0.3,
        seed: int = 0,
    ) -> None:
        if foreground_pixels < 0 or background_pixels < 0:
            counts = f"{foreground_pixels} and {background_pixels}"
            raise ValueError(f"numbers of pixels must be at least 0, got {counts}")
        _check_side("dilation", dilation)
        _check_side("erosion", erosion, allow_zero=True)
        _check_share(background_share)
        self.foreground_pixels = foreground_pixels
        self.background_pixels = background_pixels
        self.dilation = dilation
        self.erosion = erosion
        self.background_share = background_share
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Restart the sampler's own generator, for instance from seed, epoch and rank."""
        self._seed = seed
        self._generator: torch.Generator | None = None

    @property
    def random_state(self) -> Tensor | None:
        """State of the sampler's own generator; None before the first draw."""
        return None if self._generator is None else self._generator.get_state()

    def set_random_state(self, state: Tensor, device: torch.device) -> None:
        """Go on drawing on ``device`` from a `random_state`."""
        self._generator = torch.Generator(device)
        self._generator.set_state(state)

    def __call__(
        self, maps: Tensor, generator: torch.Generator | None = None, check: bool = True
    ) -> Tensor:
        """Draw pseudo-labels for a batch of maps.

        Args:
            maps: Floating-point maps of shape (B, H, W) in [0, 1], usually upscaled CAMs.
            generator: Used in place of the sampler's own; on the device of ``maps``.
            check: Whether to reject values outside, for which alone the host of a GPU would wait.

        Returns:
            Labels of shape (B, H, W), int64 on the device of ``maps``: 1 foreground, 0 background,
            ``IGNORE`` elsewhere.

        Raises:
            TypeError: If ``maps`` is neither floating point nor uint8.
            ValueError: If ``maps`` is not 3-D, is empty, holds a NaN or leaves [0, 1].
        """
        if generator is None:
            generator = self._own_generator(maps.device)
        loops = seed_loops(maps)
        if loops is not None:
            return self._by_loops(loops, maps, generator, check)
        regions = sampling_regions(maps, self.background_share, self.erosion, generator, check)
        foreground = draw_pixels(regions.foreground, self.foreground_pixels, generator)
        background = draw_pixels(regions.background, self.background_pixels, generator)
        return pseudo_labels(_dilate(foreground, self.dilation), _dilate(background, self.dilation))

    def without_object(self, maps: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw background anywhere, for images that show no object.

        Args:
            maps: Tensor of shape (B, H, W), for its shape and device.
            generator: See the call.

        Returns:
            Labels of shape (B, H, W), int64: 0 background, ``IGNORE`` elsewhere.
        """
        if generator is None:
            generator = self._own_generator(maps.device)
        whole = torch.ones_like(maps, dtype=torch.bool)
        drawn = _dilate(draw_pixels(whole, self.background_pixels, generator), self.dilation)
        return torch.where(drawn, 0, IGNORE)

    def _by_loops(
        self, loops: ModuleType, maps: Tensor, generator: torch.Generator, check: bool
    ) -> Tensor:
        """Give the same labels from the same random numbers by compiled loops."""
        check_maps(maps, check)
        batch, height, width = maps.shape
        lowest = int(self.background_share * height * width)
        shape = (batch,)
        start = (
            random_integers(shape, generator) if lowest else torch.zeros(shape, dtype=torch.int64)
        )
        sizes = [min(n, height * width) for n in (self.foreground_pixels, self.background_pixels)]
        drawn = [random_integers((batch, size), generator) for size in sizes]
        return label_images(
            loops, maps, SeedNumbers(start, *drawn), lowest, self.erosion, self.dilation, IGNORE
        )

    def _own_generator(self, device: torch.device) -> torch.Generator:
        """Return the sampler's generator; a new device starts it again from the seed."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self._seed)
        return self._generator


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


def _dilate(mask: Tensor, side: int) -> Tensor:
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


def _check_side(name: str, side: int, allow_zero: bool = False) -> None:
    """Reject a number that is no side of a square centered on a pixel."""
    if (side < 1 or side % 2 == 0) and not (allow_zero and side == 0):
        raise ValueError(f"{name} must be odd{' or 0' if allow_zero else ''}, got {side}")


def _check_share(share: float) -> None:
    """Reject a share outside [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"background_share must be in [0, 1], got {share}")
