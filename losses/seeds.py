"""Pseudo-labels for F-CAM: a few pixels drawn from regions of a CAM (Eq. 2)."""

from types import ModuleType

import torch
from torch import Tensor

from learned_saliency.losses.partial_cross_entropy import IGNORE
from learned_saliency.losses.random_pixels import draw_pixels, random_integers
from learned_saliency.losses.seed_regions import (
    check_share,
    check_side,
    dilate,
    sampling_regions,
    scaled_side,
)
from learned_saliency.ops import SeedNumbers, check_maps, label_images, seed_loops


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
        dilation: Side in pixels of the square around a drawn pixel, odd; 1 for the pixel alone.
        erosion: Side in pixels of the square that erodes the foreground region, odd; 0 for none.
        background_share: Share of the pixels that may be background, in [0, 1]; n^- in the paper,
            which has no common value but tunes n^- in 0.1..0.7 (Fig. D.2): small where objects
            fill the image (OpenImages), large where they do not (CUB).
        seed: Seed of the sampler's own generator.
        reference_size: Side of the images in pixels that ``dilation`` and ``erosion`` are meant
            for, above 0, 224 in the paper: both follow the size of the maps by `scaled_side`. None
            takes them as they are at every size.

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
        reference_size: float | None = None,
    ) -> None:
        if foreground_pixels < 0 or background_pixels < 0:
            counts = f"{foreground_pixels} and {background_pixels}"
            raise ValueError(f"numbers of pixels must be at least 0, got {counts}")
        check_side("dilation", dilation)
        check_side("erosion", erosion, allow_zero=True)
        check_share(background_share)
        if reference_size is not None and not reference_size > 0:
            raise ValueError(f"reference_size must be positive or None, got {reference_size}")
        self.foreground_pixels = foreground_pixels
        self.background_pixels = background_pixels
        self.dilation = dilation
        self.erosion = erosion
        self.background_share = background_share
        self.reference_size = reference_size
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
        erosion, dilation = self._sides(maps)
        regions = sampling_regions(maps, self.background_share, erosion, generator, check)
        foreground = draw_pixels(regions.foreground, self.foreground_pixels, generator)
        background = draw_pixels(regions.background, self.background_pixels, generator)
        return pseudo_labels(dilate(foreground, dilation), dilate(background, dilation))

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
        dilation = self._sides(maps)[1]
        drawn = dilate(draw_pixels(whole, self.background_pixels, generator), dilation)
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
            loops, maps, SeedNumbers(start, *drawn), lowest, *self._sides(maps), IGNORE
        )

    def _sides(self, maps: Tensor) -> tuple[int, int]:
        """Scale the sides of both squares, of erosion and dilation, to the size of maps."""
        sides = self.erosion, self.dilation
        return tuple(scaled_side(side, maps.shape[-2:], self.reference_size) for side in sides)

    def _own_generator(self, device: torch.device) -> torch.Generator:
        """Return the sampler's generator; a new device starts it again from the seed."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self._seed)
        return self._generator
