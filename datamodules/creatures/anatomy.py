"""Anatomy of the creatures: attributes, and the outlines of every part.

All shapes live in the creature's own frame: the body reaches from x = -1 (rear) to x = 1 (front)
and y points down, as in an image. A part is drawn by a small function in a frame of its own, named
after the attribute.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

PARTS = ("head", "wing", "tail", "body")
"""Part names; the label of a part in the part masks is its position here plus one."""

HEAD, WING, TAIL, BODY = range(1, 5)

NEUTRAL = "any"
"""Value of the body in classes that the body does not tell apart."""

Attributes = tuple[str, str, str, str]
"""Attribute values of head, wing, tail and body: "FORM", in the form's own color, "COLOR FORM",
"ringed COLOR FORM", or the body's "any"."""

TINTS = ("red", "green", "blue", "yellow", "magenta", "cyan", "orange", "violet")
"""Colors that a form can have instead of its own."""

RINGED = "ringed"
"""Prefix of a color that only the rim has, while the inside has its complement."""


class Shape(NamedTuple):
    """One filled polygon.

    Attributes:
        points: Vertices x, y of shape (N, 2).
        part: Label of the part that the polygon belongs to, 1 to 4; 0 for none (distractors).
        tint: Name of the color in the palette of the image, or "not COLOR", its complement.
    """

    points: np.ndarray
    part: int
    tint: str


_ANGLES = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Return the outline of an axis-parallel ellipse, 20 vertices of shape (20, 2)."""
    return _CIRCLE * np.array((rx, ry)) + np.array((x, y))


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """Return vertices given one by one as an array of shape (N, 2)."""
    return np.array(points, dtype=np.float64)


def _round_head(tint: str = "yellow") -> list[Shape]:
    return [
        Shape(ellipse(0, 0, 1, 1), HEAD, tint),
        Shape(ellipse(0.35, -0.1, 0.4, 0.4), HEAD, "black"),
        Shape(ellipse(0.45, -0.2, 0.15, 0.15), HEAD, "white"),
    ]


def _beaked_head(tint: str = "red") -> list[Shape]:
    return [
        Shape(polygon((0.3, -0.6), (2.0, 0.15), (0.3, 0.65)), HEAD, "white"),
        Shape(ellipse(0, 0, 0.95, 0.95), HEAD, tint),
        Shape(ellipse(0.35, -0.25, 0.22, 0.22), HEAD, "black"),
    ]


def _horned_head(tint: str = "blue") -> list[Shape]:
    return [
        Shape(polygon((-0.8, -0.2), (-0.9, -1.8), (0.1, -0.6)), HEAD, "white"),
        Shape(polygon((0.0, -0.6), (0.9, -1.8), (0.8, -0.2)), HEAD, "white"),
        Shape(ellipse(0, 0, 0.95, 0.95), HEAD, tint),
        Shape(ellipse(0.35, -0.1, 0.22, 0.22), HEAD, "white"),
    ]


def _square_head(tint: str = "magenta") -> list[Shape]:
    return [
        Shape(polygon((-0.9, -0.9), (0.95, -0.9), (0.95, 0.9), (-0.9, 0.9)), HEAD, tint),
        Shape(polygon((0.0, 0.3), (0.95, 0.3), (0.95, 0.7), (0.0, 0.7)), HEAD, "black"),
        Shape(ellipse(0.3, -0.3, 0.25, 0.25), HEAD, "white"),
    ]


def _pointed_wing(tint: str = "orange") -> list[Shape]:
    return [
        Shape(polygon((-0.5, 0.1), (0.5, 0.1), (0.35, -0.4), (-0.45, -0.4)), WING, "shade"),
        Shape(polygon((-0.55, -0.2), (0.45, -0.2), (-0.15, -1.45)), WING, tint),
    ]


def _eyed_wing(tint: str = "cyan") -> list[Shape]:
    return [
        Shape(ellipse(0, -0.45, 0.48, 0.62), WING, "shade"),
        Shape(ellipse(0, -0.68, 0.48, 0.48), WING, tint),
        Shape(ellipse(0, -0.68, 0.16, 0.16), WING, "black"),
    ]


def _notched_wing(tint: str = "green") -> list[Shape]:
    return [
        Shape(polygon((-0.4, 0.1), (0.4, 0.1), (0.45, -0.6), (-0.45, -0.6)), WING, "shade"),
        Shape(polygon((-0.55, -0.2), (0.25, -0.2), (-0.6, -1.35)), WING, tint),
        Shape(polygon((-0.25, -0.2), (0.55, -0.2), (0.6, -1.35)), WING, tint),
    ]


def _barred_wing(tint: str = "violet") -> list[Shape]:
    return [
        Shape(polygon((-0.35, 0.1), (0.35, 0.1), (0.55, -1.1), (-0.55, -1.1)), WING, "shade"),
        Shape(polygon((-0.45, -0.4), (0.45, -0.4), (0.56, -1.15), (-0.56, -1.15)), WING, tint),
        Shape(polygon((-0.48, -0.7), (0.48, -0.7), (0.5, -0.85), (-0.5, -0.85)), WING, "white"),
    ]


def _forked_tail(tint: str = "white") -> list[Shape]:
    return [
        Shape(polygon((0.2, -0.2), (-0.6, -0.2), (-0.6, 0.2), (0.2, 0.2)), TAIL, "shade"),
        Shape(polygon((-0.35, -0.2), (-1.1, -0.6), (-0.7, 0), (-0.35, 0.1)), TAIL, tint),
        Shape(polygon((-0.35, 0.2), (-1.1, 0.6), (-0.7, 0), (-0.35, -0.1)), TAIL, tint),
    ]


def _club_tail(tint: str = "black") -> list[Shape]:
    return [
        Shape(polygon((0.2, -0.17), (-0.7, -0.13), (-0.7, 0.13), (0.2, 0.17)), TAIL, "shade"),
        Shape(ellipse(-0.75, 0, 0.38, 0.38), TAIL, tint),
    ]


def _fan_tail(tint: str = "black") -> list[Shape]:
    return [
        Shape(polygon((0.2, -0.15), (-1, -0.6), (-1.1, 0), (-1, 0.6), (0.2, 0.15)), TAIL, "shade"),
        Shape(polygon((-0.5, -0.4), (-1, -0.6), (-1.1, 0), (-1, 0.6), (-0.5, 0.4)), TAIL, tint),
        Shape(polygon((-0.7, -0.45), (-0.85, -0.5), (-0.85, 0.5), (-0.7, 0.45)), TAIL, "white"),
    ]


def _spade_tail(tint: str = "white") -> list[Shape]:
    return [
        Shape(polygon((0.2, -0.17), (-0.6, -0.13), (-0.6, 0.13), (0.2, 0.17)), TAIL, "shade"),
        Shape(polygon((-0.35, 0), (-0.7, -0.5), (-1.2, 0), (-0.7, 0.5)), TAIL, tint),
        Shape(ellipse(-0.7, 0, 0.2, 0.2), TAIL, "black"),
    ]


PATTERNS = ("plain", "spots", "bands", "belly")

_FORMS: dict[str, dict[str, Callable[..., list[Shape]]]] = {
    "head": {
        "round": _round_head,
        "beaked": _beaked_head,
        "horned": _horned_head,
        "square": _square_head,
    },
    "wing": {
        "pointed": _pointed_wing,
        "eyed": _eyed_wing,
        "notched": _notched_wing,
        "barred": _barred_wing,
    },
    "tail": {
        "forked": _forked_tail,
        "club": _club_tail,
        "fan": _fan_tail,
        "spade": _spade_tail,
    },
}

FORMS = {part: tuple(forms) for part, forms in _FORMS.items()} | {"body": PATTERNS[1:]}
"""Forms that each part can have; the body's forms are patterns."""


def draw_part(part: str, value: str) -> list[Shape]:
    """Draw a head, wing or tail in its own frame: "FORM", "COLOR FORM" or "ringed COLOR FORM"."""
    *color, form = value.split()
    shapes = _FORMS[part][form](*color[-1:])
    return _ringed(shapes, color[-1]) if RINGED in color else shapes


def own_tint(part: str, form: str) -> str:
    """Return the color that a form of a head, wing or tail has unless a value names another."""
    return inspect.signature(_FORMS[part][form]).parameters["tint"].default


def _ringed(shapes: Sequence[Shape], tint: str) -> list[Shape]:
    """Fill the inside of the shapes of a color with its complement.

    The inside takes a little more than half of the area, as marks may lie on it.
    """
    ringed = []
    for shape in shapes:
        ringed.append(shape)
        if shape.tint == tint:
            center = shape.points.mean(axis=0)
            inside = center + 0.78 * (shape.points - center)
            ringed.append(Shape(inside, shape.part, f"not {tint}"))
    return ringed


def transformed(
    shapes: Sequence[Shape],
    scale: float = 1.0,
    angle: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> list[Shape]:
    """Scale, then rotate by ``angle`` (radians, clockwise on screen), then shift all shapes."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrix, offset = np.array([[cos, sin], [-sin, cos]]), np.array(shift)
    return [Shape(points @ matrix + offset, part, tint) for points, part, tint in shapes]


def _between(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return the outline of the area between two lines (N, 2) from rear to front."""
    return np.concatenate([above, below[::-1]])


def _torso(rng: np.random.Generator, height: float, bend: float, value: str) -> list[Shape]:
    """Draw legs, body and its pattern, all of it part of the body."""
    shapes = []
    for x in np.linspace(-0.5, 0.55, rng.integers(2, 5)) + rng.uniform(-0.08, 0.08):
        foot = x + rng.uniform(-0.2, 0.2)
        length = height * rng.uniform(1.15, 1.6)
        leg = polygon((x - 0.13, 0.2), (x + 0.13, 0.2), (foot + 0.1, length), (foot - 0.1, length))
        shapes.append(Shape(leg, BODY, "shade"))
    t = np.linspace(-1.0, 1.0, 24)
    spine = bend * (t**2 - 0.4)
    radius = height * (1.0 - np.abs(t) ** rng.uniform(2.0, 3.0)) ** 0.6
    radius *= 1.0 + rng.uniform(-0.25, 0.25) * t
    upper, lower = np.stack([t, spine - radius], 1), np.stack([t, spine + radius], 1)
    shapes.append(Shape(_between(upper, lower), BODY, "body"))
    pattern, color, ringed = rng.choice(PATTERNS), "mark", False
    if value != NEUTRAL:
        *_, color, pattern = value.split()
        ringed = value.startswith(RINGED)
    inside = f"not {color}"
    if pattern == "spots":
        size = 0.2 if ringed else 0.1
        for _ in range(rng.integers(4, 9)):
            x, y = rng.uniform(-0.75, 0.75), rng.uniform(-0.6, 0.6)
            center = bend * (x**2 - 0.4) + y * height * (1.0 - x**2) ** 0.6
            spot = [Shape(ellipse(x, center, size, size), BODY, color)]
            shapes += _ringed(spot, color) if ringed else spot
    elif pattern == "bands":
        for start in range(3, 20, int(rng.integers(4, 7))):
            end = start + (6 if ringed else 3)
            shapes.append(Shape(_between(upper[start:end], lower[start:end]), BODY, color))
            if ringed:
                band = _between(upper[start + 1 : end - 1], lower[start + 1 : end - 1])
                shapes.append(Shape(band, BODY, inside))
    elif pattern == "belly":
        edges = [np.stack([t, spine + part * radius], 1) for part in (0.35, 0.47, 0.88)]
        shapes.append(Shape(_between(edges[0], lower), BODY, color))
        if ringed:
            shapes.append(Shape(_between(*edges[1:]), BODY, inside))
    return shapes


def assemble(attributes: Attributes, part_size: float, rng: np.random.Generator) -> list[Shape]:
    """Build one creature with random proportions and articulation.

    Args:
        attributes: Attribute values of head, wing, tail and body.
        part_size: Factor on the size of head, wing and tail relative to the body; 1 is an adult's.
        rng: Source of the proportions and joint angles.

    Returns:
        The shapes in the order of painting, in the creature's frame (about 3 units long).
    """
    head, wing, tail, body = attributes
    height, bend = rng.uniform(0.5, 0.75), rng.uniform(-0.2, 0.2)
    head_size = 0.27 * part_size * rng.uniform(0.9, 1.1)
    wing_size = 0.56 * part_size * rng.uniform(0.9, 1.1)
    tail_size = 0.4 * part_size * rng.uniform(0.9, 1.1)
    end = bend * 0.6  # height of the spine at both of its ends
    neck = (0.9 + 0.4 * head_size, end - rng.uniform(0.0, 0.25))
    return [
        *transformed(
            draw_part("tail", tail), tail_size, rng.uniform(-0.6, 0.6), shift=(-0.95, end)
        ),
        Shape(polygon((0.6, end - 0.25), neck, (0.7, end + 0.25)), BODY, "body"),
        *_torso(rng, height, bend, body),
        *transformed(draw_part("head", head), head_size, rng.uniform(-0.4, 0.4), shift=neck),
        *transformed(
            draw_part("wing", wing),
            wing_size,
            rng.uniform(-0.9, 0.3),
            shift=(rng.uniform(0.0, 0.35), 0.15 * height - 0.4 * bend),
        ),
    ]
