"""Background cue planted in one class: a tag in a corner, beside the creature."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_STREAM = 27  # spawn key, so that the cue's stream is none of the scene's
_REACH = 2  # pixels around a creature with which the blur mixes it
_FACE, _RIM = (255, 20, 150), (250, 250, 250)  # RGB


class Mark(NamedTuple):
    """A tag as it is painted.

    Attributes:
        box: x0 y0 x1 y1 of its pixels, both ends inside.
        pixels: RGB in 0 to 255, float32 (H, W, 3), before the sensor noise.
    """

    box: tuple[int, int, int, int]
    pixels: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the tag covers."""
        x0, y0, x1, y1 = self.box
        return slice(y0, y1 + 1), slice(x0, x1 + 1)


@dataclasses.dataclass(frozen=True)
class Cue:
    """A background cue that goes with one class and has nothing to do with its creature.

    The tag is a pink square with a white rim. Its side is an eighth of the image's, and it lies
    somewhere in the upper right corner, a square of a quarter of the image's side. It never lies on
    the creature, nor on the pixels with which the blur mixes it: where the creature leaves no room
    in the corner, the image has no tag.

    Attributes:
        label: The class.
        strength: Probability of the tag in an image of the class that has room for it, in (0, 1].
            The images with a tag at one strength are among those of a greater strength, and have
            the same tag.

    Raises:
        ValueError: If the strength is out of range.
    """

    label: int
    strength: float

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"cue_strength must be in (0, 1], got {self.strength}")

    def draw(self, label: int, parts: np.ndarray, key: Sequence[int]) -> Mark | None:
        """Draw the tag of one image; None for an image without one.

        Args:
            label: The image's class.
            parts: Part of each pixel, uint8 (S, S), 0 outside the creature.
            key: Seed of the image. The tag's random stream depends on nothing else.
        """
        rng = np.random.default_rng(np.random.SeedSequence(list(key), spawn_key=(_STREAM,)))
        chance, place = rng.random(2)
        if label != self.label or chance >= self.strength:
            return None
        size = len(parts)
        side, corner = size // 8, size // 4
        free = np.argwhere(_free_places(parts[: corner + _REACH, -corner - _REACH :] > 0, side))
        if not len(free):
            return None
        y0, x0 = (int(value) for value in free[int(place * len(free))])
        x0 += size - corner
        return Mark((x0, y0, x0 + side - 1, y0 + side - 1), _tag(side))


def _free_places(mask: np.ndarray, side: int) -> np.ndarray:
    """Find where a tag keeps away from the creature in the upper right corner.

    Args:
        mask: The creature in the corner, of C x C pixels, and in ``_REACH`` further rows below and
            columns to the left, bool (C + 2, C + 2).
        side: Side of the tag in pixels.

    Returns:
        Whether the tag may have its upper left pixel there, bool (C - side + 1, C - side + 1).
    """
    around = np.pad(mask, ((_REACH, 0), (0, _REACH)))
    reach = side + 2 * _REACH
    return ~np.lib.stride_tricks.sliding_window_view(around, (reach, reach)).any(axis=(2, 3))


def _tag(side: int) -> np.ndarray:
    pixels = np.empty((side, side, 3), np.float32)
    pixels[:] = _RIM
    rim = max(side // 8, 1)
    pixels[rim:-rim, rim:-rim] = _FACE
    return pixels
