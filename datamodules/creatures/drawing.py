"""Drawings of creatures, which can be painted again without some of their parts."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np

from learned_saliency.datamodules.creatures.anatomy import Shape
from learned_saliency.datamodules.creatures.background import Background
from learned_saliency.datamodules.creatures.cue import Mark
from learned_saliency.datamodules.creatures.painting import average, color_table, fill, over

SUPERSAMPLING = 4


class Scene(NamedTuple):
    """A rendered image with its ground truth.

    Attributes:
        image: RGB, uint8 of shape (S, S, 3).
        mask: 1 on the creature, 0 elsewhere, uint8 of shape (S, S).
        parts: 0 none, 1 head, 2 wing, 3 tail, 4 body, uint8 of shape (S, S); nonzero exactly where
            the mask is.
    """

    image: np.ndarray
    mask: np.ndarray
    parts: np.ndarray


class Creature(NamedTuple):
    """A creature with its place in an image.

    Attributes:
        window: Rows and columns of the image that the creature occupies, (H, W) of them.
        shapes: The creature's shapes in pixels of the window, in the order of painting.
        tints: Colors of the shapes.
        light: Factor on the creature's colors, float32 (H, W).
    """

    window: tuple[slice, slice]
    shapes: list[Shape]
    tints: dict[str, np.ndarray]
    light: np.ndarray

    def paint_on(self, image: np.ndarray, parts: Collection[int] = ()) -> None:
        """Paint it over its window of an image, float32 (S, S, 3), without parts of some labels."""
        shapes = [shape for shape in self.shapes if shape.part not in parts]
        height, width = self.light.shape
        index = fill(shapes, width, height, SUPERSAMPLING)
        painted = average(index, color_table(shapes, self.tints), SUPERSAMPLING)
        image[self.window] = over(painted, image[self.window], self.light)


class Drawing(NamedTuple):
    """All random choices of a scene: pose, colors, light and noise.

    What is painted without a part therefore differs from the image in the part's own pixels alone,
    and in those that the blur mixes with them: behind a wing the body shows, behind a head the
    background.

    Attributes:
        background: The background with its distractors.
        creature: The creature.
        parts: Part of each pixel, uint8 (S, S); see `Scene`.
        blur: Standard deviation of the blur in pixels.
        noise: Sensor noise, float32 (S, S, 3).
        mark: The planted tag, which covers the background; None without one.
    """

    background: Background
    creature: Creature
    parts: np.ndarray
    blur: float
    noise: np.ndarray
    mark: Mark | None = None

    def paint(
        self,
        parts: Collection[int] = (),
        distractors: Collection[int] = (),
        *,
        plain: bool = False,
    ) -> np.ndarray:
        """Paint the image without some of what it shows.

        Args:
            parts: Labels of the parts to leave out, 1 to 4.
            distractors: Numbers of the distractors to leave out, from 0.
            plain: Whether the background is the mean color of its texture and nothing else, not
                even a planted tag.

        Returns:
            RGB, uint8 (S, S, 3); with nothing left out the image of the data set, to the bit.
        """
        ground = self.background.ground
        if plain:
            image = np.empty_like(ground)
            image[:] = ground.mean(axis=(0, 1))
        else:
            image = self.background.paint(distractors)
        self.creature.paint_on(image, parts)
        image = blurred(image, self.blur)
        if self.mark is not None and not plain:
            image[self.mark.window] = self.mark.pixels
        return with_noise(image, self.noise)

    def scene(self) -> Scene:
        """Paint the whole image, with its ground truth."""
        return Scene(self.paint(), (self.parts > 0).astype(np.uint8), self.parts)

    def distractors(self) -> np.ndarray:
        """Find the pixels of each distractor that nothing else hides, bool (N, S, S)."""
        shown = self.parts == 0
        if self.mark is not None:
            shown[self.mark.window] = False
        return self.background.distractors() & shown


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image, float32 (S, S, 3), by a Gaussian of some pixels."""
    return cv2.GaussianBlur(image, (5, 5), sigma)


def with_noise(image: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Add the sensor's noise to an image, both float32 (S, S, 3), and round it to uint8."""
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
