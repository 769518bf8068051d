"""Scenes of several creatures of different classes, mostly apart, with a mask of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from learned_saliency.datamodules.creatures.anatomy import BODY, Attributes
from learned_saliency.datamodules.creatures.background import Background, background
from learned_saliency.datamodules.creatures.drawing import Creature, blurred, with_noise
from learned_saliency.datamodules.creatures.scene import (
    Figure,
    SceneOptions,
    draw_camera,
    draw_figure,
    dress,
)

_MAX_ATTEMPTS = 100
_PLACES = 20  # that are tried of two drawn creatures
_MOST_HIDDEN = 0.05  # share of a creature that another one may hide


class GroupDrawing(NamedTuple):
    """All random choices of a scene of several creatures.

    Attributes:
        background: The background with its distractors.
        creatures: The creatures, in the order of painting.
        masks: 1 where a creature shows, 0 elsewhere, uint8 (creatures, S, S); they do not overlap.
        blur: Standard deviation of the blur in pixels.
        noise: Sensor noise, float32 (S, S, 3).
    """

    background: Background
    creatures: tuple[Creature, ...]
    masks: np.ndarray
    blur: float
    noise: np.ndarray

    def paint(self) -> np.ndarray:
        """Paint the image: RGB, uint8 (S, S, 3)."""
        image = self.background.paint()
        for creature in self.creatures:
            creature.paint_on(image)
        return with_noise(blurred(image, self.blur), self.noise)


def draw_group(
    classes: Sequence[Attributes], options: SceneOptions, rng: np.random.Generator
) -> GroupDrawing:
    """Draw one image with a creature of each of some classes.

    The largest allowed area of a box is divided by the number of creatures, so that they find room.
    No creature hides more than a twentieth of another one, nor all of a part.

    Args:
        classes: Attribute values of head, wing, tail and body of each creature.
        options: Size and difficulty.
        rng: Source of all random choices; the same state gives the same bytes.

    Raises:
        ValueError: If the smallest allowed area is not below the divided largest one.
        RuntimeError: If the creatures find no room, which only a very narrow range can cause.
    """
    options = room_for(options, len(classes))
    figures, parts = _place(classes, options, rng)
    behind = background(rng, options.image_size, options.clutter)
    painted = behind.paint()
    creatures = tuple(dress(figure, painted, options, rng) for figure in figures)
    masks = (parts > 0).astype(np.uint8)
    return GroupDrawing(behind, creatures, masks, *draw_camera(options, rng))


def room_for(options: SceneOptions, creatures: int) -> SceneOptions:
    """Divide the largest allowed area of a box by the number of creatures.

    Raises:
        ValueError: If the smallest allowed area is not below it.
    """
    return dataclasses.replace(options, max_area=options.max_area / creatures)


def _place(
    classes: Sequence[Attributes], options: SceneOptions, rng: np.random.Generator
) -> tuple[list[Figure], np.ndarray]:
    """Draw poses and places until the creatures are mostly apart; give their visible parts."""
    for _ in range(_MAX_ATTEMPTS):
        figures = [draw_figure(attributes, options, rng) for attributes in classes]
        for _ in range(_PLACES):
            whole = np.stack([figure.in_image(options.image_size) for figure in figures])
            in_front = (whole[::-1] > 0).cumsum(axis=0)[::-1] - (whole > 0)
            visible = np.where(in_front > 0, 0, whole).astype(np.uint8)  # (n, S, S)
            if all(map(_shows, visible, whole)):
                return figures, visible
            figures = [_moved(figure, options.image_size, rng) for figure in figures]
    raise RuntimeError(
        f"in {_MAX_ATTEMPTS} attempts {len(classes)} creatures found no room side by side in an "
        f"image of {options.image_size} pixels; lower max_area"
    )


def _moved(figure: Figure, size: int, rng: np.random.Generator) -> Figure:
    """Draw another place of a creature in the image, by whole pixels."""
    starts = [int(rng.integers(size - side + 1)) for side in figure.parts.shape]
    sides = zip(starts, figure.parts.shape, strict=True)
    return figure._replace(window=tuple(slice(start, start + side) for start, side in sides))


def _shows(visible: np.ndarray, whole: np.ndarray) -> bool:
    """Tell whether enough of a creature is seen, from the parts of its pixels (S, S)."""
    shown = (visible > 0).sum() >= (1 - _MOST_HIDDEN) * (whole > 0).sum()
    return bool(shown) and np.bincount(visible.ravel(), minlength=BODY + 1)[1:].min() > 1
