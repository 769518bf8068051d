"""Backgrounds of the creatures: textures of several kinds and distractors."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import cv2
import numpy as np

from learned_saliency.datamodules.creatures.anatomy import (
    FORMS,
    PARTS,
    Shape,
    draw_part,
    ellipse,
    transformed,
)
from learned_saliency.datamodules.creatures.painting import (
    PALETTE,
    average,
    color_table,
    fill,
    hsv_to_rgb,
    jittered_palette,
    over,
)

_SUPERSAMPLING = 2


class Background(NamedTuple):
    """A background that can be painted again without some of its distractors.

    Attributes:
        ground: The texture, RGB in 0 to 255, float32 (S, S, 3).
        shapes: Leaves, then distractors, in the order of painting.
        owners: Number of the distractor that each shape belongs to, from 0; -1 for leaves.
        tints: Colors of the shapes.
    """

    ground: np.ndarray
    shapes: list[Shape]
    owners: list[int]
    tints: dict[str, np.ndarray]

    def paint(self, without: Collection[int] = ()) -> np.ndarray:
        """Paint it, without the distractors of some numbers; RGB, float32 (S, S, 3)."""
        pairs = zip(self.shapes, self.owners, strict=True)
        shapes = [shape for shape, owner in pairs if owner not in without]
        index = fill(shapes, *self.ground.shape[:2], _SUPERSAMPLING)
        table = color_table(shapes, self.tints)
        return over(average(index, table, _SUPERSAMPLING), self.ground)

    def distractors(self) -> np.ndarray:
        """Find the pixels of which each distractor covers at least half, bool (N, S, S)."""
        size, count = len(self.ground), max(self.owners, default=-1) + 1
        index = fill(self.shapes, size, size, _SUPERSAMPLING)
        fine = np.take(np.array([-1, *self.owners]), index)
        fine = fine.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING)
        shares = [(fine == number).mean(axis=(1, 3)) for number in range(count)]
        return np.array(shares).reshape(count, size, size) >= 0.5


def smooth_noise(rng: np.random.Generator, size: int, cells: int, octaves: int = 4) -> np.ndarray:
    """Draw multi-scale noise.

    Args:
        rng: Source of the noise.
        size: Side S in pixels.
        cells: Cells along one side of the coarsest scale; each further octave has twice as many
            cells and 0.6 times the amplitude.
        octaves: Number of scales; scales finer than a pixel are left out.

    Returns:
        Noise of mean 0 and standard deviation 1, float32 of shape (S, S).
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        side = cells * 2**octave
        if side > size and octave:
            break
        grid = rng.standard_normal((side, side), np.float32)
        total += 0.6**octave * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / (total.std() + 1e-6)


def _squash(noise: np.ndarray) -> np.ndarray:
    """Map noise of unit deviation to (0, 1)."""
    return 0.5 + 0.5 * np.tanh(noise)


def _coordinates(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two orthogonal coordinates in [-0.7, 0.7], randomly rotated, each float32 (S, S)."""
    axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * axis + sin * axis[:, None], cos * axis[:, None] - sin * axis


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    return _squash(smooth_noise(rng, size, int(rng.integers(2, 12))))


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    x, _ = _coordinates(rng, size)
    warp = rng.uniform(0.3, 1.5) * smooth_noise(rng, size, 3, 2)
    return _squash(2.0 * np.sin(2 * np.pi * rng.uniform(3, 12) * x + warp))


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    x, y = _coordinates(rng, size)
    frequency = 2 * np.pi * rng.uniform(2, 7)
    warp = rng.uniform(0.2, 1.2) * smooth_noise(rng, size, 3, 2)
    return _squash(3.0 * np.sin(frequency * x + warp) * np.sin(frequency * y - warp))


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    x, y = _coordinates(rng, size)
    slope = x if rng.random() < 0.5 else 1.5 * np.hypot(x - rng.uniform(-0.4, 0.4), y) - 0.5
    return _squash(2.5 * slope + 0.25 * smooth_noise(rng, size, 8))


_TEXTURES: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (
    _clouds,
    _stripes,
    _tiles,
    _gradient,
)


def _leaves(rng: np.random.Generator, size: int, count: int) -> list[Shape]:
    """Scatter pointed leaves in eight tints over the whole image."""
    t = np.linspace(-1.0, 1.0, 6)
    outline = np.stack(
        [np.concatenate([t, t[::-1]]), np.concatenate([1 - t**2, t[::-1] ** 2 - 1])], 1
    )
    direction = rng.uniform(0, 2 * np.pi)
    length = size * rng.uniform(0.04, 0.12)
    angle = direction + rng.normal(0, 0.7, (count, 1))
    along = length * rng.uniform(0.6, 1.4, (count, 1)) * outline[:, 0]
    across = length * rng.uniform(0.15, 0.45, (count, 1)) * outline[:, 1]
    x = np.cos(angle) * along - np.sin(angle) * across + rng.uniform(0, size, (count, 1))
    y = np.sin(angle) * along + np.cos(angle) * across + rng.uniform(0, size, (count, 1))
    tints = rng.integers(8, size=count)
    return [
        Shape(points, 0, f"leaf{tint}")
        for points, tint in zip(np.stack([x, y], 2), tints, strict=True)
    ]


def _lookalike(rng: np.random.Generator) -> list[Shape]:
    """Draw the outline of a random part in random colors, a few of them colors of markings."""
    part = rng.choice(PARTS[:3])
    tints: dict[str, str] = {}
    for shape in (shapes := draw_part(part, rng.choice(FORMS[part]))):
        marking = rng.choice(list(PALETTE)) if rng.random() < 0.1 else f"random{rng.integers(8)}"
        tints.setdefault(shape.tint, marking)
    return [Shape(points, 0, tints[tint]) for points, _, tint in shapes]


def _distractors(rng: np.random.Generator, size: int, count: int) -> list[list[Shape]]:
    """Scatter polygons, ellipses and look-alikes of parts; list the shapes of each."""
    groups = []
    for _ in range(count):
        kind, tint = rng.random(), f"random{rng.integers(8)}"
        if kind < 0.35:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
            spokes = rng.uniform(0.5, 1.0, (len(angles), 1))
            group = [Shape(spokes * np.stack([np.cos(angles), np.sin(angles)], 1), 0, tint)]
        elif kind < 0.7:
            group = [Shape(ellipse(0, 0, 1, rng.uniform(0.3, 1)), 0, tint)]
        else:
            group = _lookalike(rng)
        center = tuple(rng.uniform(0, size, 2))
        scale, angle = size * rng.uniform(0.03, 0.11), rng.uniform(0, 2 * np.pi)
        groups.append(transformed(group, scale, angle, center))
    return groups


def background(rng: np.random.Generator, size: int, clutter: float) -> Background:
    """Draw a textured background with distractors.

    Args:
        rng: Source of the texture.
        size: Side S in pixels.
        clutter: Amount of distractors, 0 for none; their mean number is six times this amount.
    """
    base = np.array([rng.random(), rng.uniform(0.0, 0.3), rng.uniform(0.2, 0.9)])
    hsv = base + rng.normal(0, 1, (11, 3)) * (0.08, 0.08, 0.15)
    colors = hsv_to_rgb(hsv)
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng, size)
    patches = 0.5 * _squash(smooth_noise(rng, size, 2, 2))
    grain = 1.0 + np.float32(rng.uniform(0.01, 0.1)) * smooth_noise(rng, size, size // 8, 3)
    ground = grain * (1.0 - patches)
    weights = np.stack([ground * (1.0 - texture), ground * texture, grain * patches], axis=2)
    texture_colors = weights @ colors[:3]

    tints = jittered_palette(rng)
    tints |= {f"leaf{i}": color for i, color in enumerate(colors[3:])}
    random = np.stack([rng.random(8), rng.uniform(0, 0.45, 8), rng.uniform(0.1, 1, 8)], 1)
    tints |= {f"random{i}": color for i, color in enumerate(hsv_to_rgb(random))}
    shapes = _leaves(rng, size, int(rng.integers(40, 120))) if rng.random() < 0.3 else []
    owners = [-1] * len(shapes)
    groups = _distractors(rng, size, min(int(rng.poisson(6.0 * clutter)), 30))
    for number, group in enumerate(groups):
        shapes += group
        owners += [number] * len(group)
    return Background(texture_colors, shapes, owners, tints)
