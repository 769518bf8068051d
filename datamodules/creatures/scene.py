"""Scenes of one creature in front of a background, with its exact masks."""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

from learned_saliency.datamodules.creatures.anatomy import (
    BODY,
    Attributes,
    Shape,
    assemble,
    transformed,
)
from learned_saliency.datamodules.creatures.background import background, smooth_noise
from learned_saliency.datamodules.creatures.drawing import (
    SUPERSAMPLING,
    Creature,
    Drawing,
    Scene,
)
from learned_saliency.datamodules.creatures.painting import (
    average,
    fill,
    hsv_to_rgb,
    jittered_palette,
    rgb_to_lab,
)

_MAX_ATTEMPTS = 100
_GRAY = 127.5


@dataclasses.dataclass(frozen=True)
class SceneOptions:
    """Options of a scene's look; all of them change its difficulty.

    Attributes:
        image_size: Side of the image in pixels, at least 32.
        min_area: Smallest area of a creature's box as a fraction of the image, in (0, max_area).
        max_area: Largest such area, in (min_area, 0.8]; the logarithm of the area is spread almost
            evenly in between.
        contrast: Distance in CIE L*a*b* (1976 Delta E) between the body's color and the colors
            around it, 0 to 60. 80 % of the surrounding pixels keep this distance where a body color
            can be found for it, which up to the default is almost always; 0 allows camouflage.
            Bodies are more saturated than backgrounds in any case.
        clutter: Amount of distractors, 0 to 3; their mean number is six times this amount.
        part_size: Factor on the size of head, wing and tail, which decide the class, 0.5 to 2.
        noise: Largest standard deviation of the sensor noise as a fraction of full scale, 0 to 0.2.

    Raises:
        ValueError: If a value is outside its range.
    """

    image_size: int = 128
    min_area: float = 0.05
    max_area: float = 0.6
    contrast: float = 35.0
    clutter: float = 1.0
    part_size: float = 1.0
    noise: float = 0.03

    def __post_init__(self) -> None:
        if self.image_size < 32:
            raise ValueError(f"image_size must be at least 32 pixels, got {self.image_size}")
        if not 0 < self.min_area < self.max_area <= 0.8:
            raise ValueError(
                f"areas must satisfy 0 < min_area < max_area <= 0.8, "
                f"got min_area {self.min_area} and max_area {self.max_area}"
            )
        ranges = {"contrast": (0, 60), "clutter": (0, 3), "part_size": (0.5, 2), "noise": (0, 0.2)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in [{low}, {high}], got {value}")


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the tight box x0, y0, x1, y1 of an (H, W) mask in pixels, both ends inside the box.

    Raises:
        ValueError: If the mask has no nonzero pixel.
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        raise ValueError("the mask is empty, it has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def _pose(attributes: Attributes, options: SceneOptions, rng: np.random.Generator) -> list[Shape]:
    """Draw a creature's size, build it, and place it in the image; points in pixels."""
    size = options.image_size
    area = options.min_area * (options.max_area / options.min_area) ** (rng.random() ** 0.75)
    # The young have larger heads: parts shrink less than bodies, so that they stay visible.
    shapes = assemble(attributes, options.part_size * (0.25 / area) ** 0.15, rng)
    shapes = transformed(shapes, angle=rng.uniform(-1.0, 1.0))
    if rng.random() < 0.5:
        shapes = [Shape(points * (-1.0, 1.0), part, tint) for points, part, tint in shapes]
    points = np.concatenate([shape.points for shape in shapes])
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    scale = min(size * np.sqrt(area / extent.prod()), (size - 2) / extent.max())
    room = size - 2 - scale * extent
    return transformed(shapes, scale, shift=tuple(1 + rng.uniform(0, 1, 2) * room - scale * low))


class Figure(NamedTuple):
    """A creature cut out of the image.

    Attributes:
        window: The rows and columns of the image that the creature occupies, (H, W) of them.
        shapes: The creature's shapes in pixels of the window.
        index: Index map of the shapes, supersampled.
        parts: Part of every pixel of the window, uint8 of shape (H, W), 0 outside the creature.
    """

    window: tuple[slice, slice]
    shapes: list[Shape]
    index: np.ndarray
    parts: np.ndarray

    def in_image(self, size: int) -> np.ndarray:
        """Place the parts in an image, uint8 (S, S)."""
        placed = np.zeros((size, size), np.uint8)
        placed[self.window] = self.parts
        return placed


def _cut_out(shapes: list[Shape]) -> Figure:
    """Paint the creature in the smallest window of whole pixels around it."""
    points = np.concatenate([shape.points for shape in shapes])
    x0, y0 = np.floor(points.min(axis=0)).astype(int)
    x1, y1 = np.ceil(points.max(axis=0)).astype(int)
    shapes = transformed(shapes, shift=(-x0, -y0))
    index = fill(shapes, x1 - x0, y1 - y0, SUPERSAMPLING)
    one_hot = np.zeros((len(shapes) + 1, 4), np.uint8)
    one_hot[np.arange(len(shapes)) + 1, [shape.part - 1 for shape in shapes]] = 255
    coverage = average(index, one_hot, SUPERSAMPLING)
    inside = coverage.sum(axis=2, dtype=np.int32) >= 128
    parts = np.where(inside, coverage.argmax(axis=2) + 1, 0).astype(np.uint8)
    return Figure((slice(y0, y1), slice(x0, x1)), shapes, index, parts)


def draw_figure(attributes: Attributes, options: SceneOptions, rng: np.random.Generator) -> Figure:
    """Draw poses until every part is visible and the box has an allowed area.

    Raises:
        RuntimeError: If no pose fits, which only a very narrow range of areas can cause.
    """
    for _ in range(_MAX_ATTEMPTS):
        figure = _cut_out(_pose(attributes, options, rng))
        x0, y0, x1, y1 = tight_box(figure.parts)
        area = (x1 - x0 + 1) * (y1 - y0 + 1) / options.image_size**2
        visible = np.bincount(figure.parts.ravel(), minlength=BODY + 1)[1:].min() > 1
        if visible and options.min_area <= area <= options.max_area:
            return figure
    raise RuntimeError(
        f"no pose in {_MAX_ATTEMPTS} has a box of {options.min_area:.0%} to {options.max_area:.0%} "
        f"of an image of {options.image_size} pixels; widen the range"
    )


def _body_color(surroundings: np.ndarray, contrast: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a color from which 80 % of the surrounding colors (N, 3) differ by ``contrast``."""
    around = rgb_to_lab(surroundings)
    hsv = np.stack([rng.random(16), rng.uniform(0.35, 0.75, 16), rng.uniform(0.3, 0.95, 16)], 1)
    candidates = hsv_to_rgb(hsv)
    distance = np.linalg.norm(rgb_to_lab(candidates)[:, None] - around, axis=2)
    separation = np.percentile(distance, 20, axis=1)
    enough = np.flatnonzero(separation >= contrast)
    return candidates[enough[0] if len(enough) else separation.argmax()]


def _complements(
    shapes: list[Shape], index: np.ndarray, tints: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Compute each "not COLOR" that averages to gray with the color over their visible areas.

    Where that would need more than full or less than no light, painting clips the color.
    """
    visible: dict[str, int] = {}
    counts = np.bincount(index.ravel(), minlength=len(shapes) + 1)[1:]
    for shape, count in zip(shapes, counts.tolist(), strict=True):
        visible[shape.tint] = visible.get(shape.tint, 0) + count
    return {
        name: _GRAY + (_GRAY - tints[tint]) * (visible[tint] / max(visible[name], 1))
        for name in visible
        if (tint := name.removeprefix("not ")) != name
    }


def _shading(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw the light on a creature: a slope and fine grain around 1, float32 of shape (H, W)."""
    x, y = (0.1 * rng.standard_normal(2)).astype(np.float32)
    slope = x * np.linspace(-1, 1, width, dtype=np.float32)
    slope = slope + y * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    size = max(height, width)
    grain = smooth_noise(rng, size, max(size // 8, 2), 3)[:height, :width]
    return 1.0 + slope + np.float32(rng.uniform(0.01, 0.06)) * grain


def draw_scene(attributes: Attributes, options: SceneOptions, rng: np.random.Generator) -> Drawing:
    """Draw one image of a class, that it may be painted with all of its parts and without some.

    Args:
        attributes: Attribute values of head, wing, tail and body.
        options: Size and difficulty.
        rng: Source of all random choices; the same state gives the same bytes.

    Raises:
        RuntimeError: If no pose fits the allowed area, which only a very narrow range can cause.
    """
    size = options.image_size
    figure = draw_figure(attributes, options, rng)
    parts = figure.in_image(size)
    behind = background(rng, size, options.clutter)
    creature = dress(figure, behind.paint(), options, rng)
    return Drawing(behind, creature, parts, *draw_camera(options, rng))


def dress(
    figure: Figure, behind: np.ndarray, options: SceneOptions, rng: np.random.Generator
) -> Creature:
    """Draw the colors of a creature and the light on it.

    Args:
        figure: The creature.
        behind: The background, RGB in 0 to 255, float32 (S, S, 3).
        options: Size and difficulty.
        rng: Source of all random choices.
    """
    window, shapes, index, part_window = figure
    mask = (figure.in_image(len(behind)) > 0).astype(np.uint8)
    reach = np.ones((len(behind) // 8 | 1, len(behind) // 8 | 1), np.uint8)
    surroundings = behind[cv2.dilate(mask, reach) > mask]
    body = _body_color(surroundings[:: len(surroundings) // 100 + 1], options.contrast, rng)
    tints = jittered_palette(rng) | {
        "body": body,
        "shade": body * rng.uniform(0.75, 0.9),
        "mark": body * rng.uniform(0.82, 1.18),
    }
    tints |= _complements(shapes, index, tints)
    return Creature(window, shapes, tints, _shading(rng, *part_window.shape))


def draw_camera(options: SceneOptions, rng: np.random.Generator) -> tuple[float, np.ndarray]:
    """Draw the standard deviation of the blur in pixels, and the noise, float32 (S, S, 3)."""
    size = options.image_size
    blur = rng.uniform(0.1, 0.7) * size / 128
    sigma = np.float32(255.0 * options.noise * rng.uniform(0.1, 1.0))
    return blur, sigma * rng.standard_normal((size, size, 3), np.float32)


def render_scene(attributes: Attributes, options: SceneOptions, rng: np.random.Generator) -> Scene:
    """Render one image of a class; arguments and errors are those of `draw_scene`."""
    return draw_scene(attributes, options, rng).scene()
