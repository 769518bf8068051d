"""Painting of creatures and their surroundings: antialiased polygons, and colors."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from learned_saliency.datamodules.creatures.anatomy import Shape

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (230, 30, 30),
    "orange": (255, 135, 15),
    "yellow": (250, 225, 25),
    "green": (40, 215, 50),
    "cyan": (30, 220, 235),
    "blue": (35, 75, 240),
    "violet": (140, 40, 235),
    "magenta": (240, 40, 185),
    "white": (245, 245, 245),
    "black": (20, 20, 24),
}
"""Colors of the parts' markings, RGB in 0 to 255."""

_SUBPIXEL_BITS = 4


def fill(shapes: Sequence[Shape], width: int, height: int, supersampling: int) -> np.ndarray:
    """Fill polygons, each over the ones before it.

    Args:
        shapes: At most 255 shapes in pixels, where pixel i covers the interval [i, i + 1).
        width: Width W of the area to paint in pixels.
        height: Height H of this area in pixels.
        supersampling: Linear factor k of the fine grid.

    Returns:
        Index of the topmost shape plus one (0: none) on the fine grid, uint8 of shape (kH, kW).
    """
    assert len(shapes) < 256, "a shape's index must fit into 8 bits"
    index = np.zeros((height * supersampling, width * supersampling), np.uint8)
    for i, shape in enumerate(shapes, start=1):
        # OpenCV's integers are the centers of (fine) pixels; its unit here is 1/16 of one.
        fine = (shape.points * supersampling - 0.5) * 2**_SUBPIXEL_BITS
        cv2.fillPoly(index, [np.rint(fine).astype(np.int32)], i, shift=_SUBPIXEL_BITS)
    return index


def average(index: np.ndarray, table: np.ndarray, supersampling: int) -> np.ndarray:
    """Look up four values for every fine pixel and average them over the pixels of the image.

    Args:
        index: Index map of shape (kH, kW), as ``fill`` returns it.
        table: Values of each index, uint8 of shape (N + 1, 4).
        supersampling: Linear factor k of the fine grid.

    Returns:
        Averages of shape (H, W, 4), uint8 rounded to the nearest.
    """
    height, width = (side // supersampling for side in index.shape)
    return cv2.resize(np.take(table, index, axis=0), (width, height), interpolation=cv2.INTER_AREA)


def color_table(shapes: Sequence[Shape], tints: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Return color and opacity of N shapes for ``average``, uint8 (N + 1, 4), row 0 zero."""
    table = np.zeros((len(shapes) + 1, 4), np.uint8)
    for row, shape in zip(table[1:], shapes, strict=True):
        row[:3] = np.clip(tints[shape.tint], 0, 255)
        row[3] = 255
    return table


def over(painted: np.ndarray, below: np.ndarray, light: np.ndarray | None = None) -> np.ndarray:
    """Lay painted shapes over an image.

    Args:
        painted: Color times opacity, and opacity, as ``average`` returns it, uint8 (H, W, 4).
        below: RGB in 0 to 255, float32 of shape (H, W, 3).
        light: Factor on the painted colors, float32 of shape (H, W).

    Returns:
        RGB, float32 of shape (H, W, 3).
    """
    # Three equal channels, since broadcasting over a last axis of one is several times slower.
    transparency = cv2.cvtColor(1.0 - painted[..., 3] / np.float32(255), cv2.COLOR_GRAY2RGB)
    color = painted[..., :3].astype(np.float32)
    if light is not None:
        color *= cv2.cvtColor(light, cv2.COLOR_GRAY2RGB)
    return color + transparency * below


def hsv_to_rgb(hsv: np.ndarray) -> np.ndarray:
    """Convert colors (N, 3), each of hue, saturation and value in [0, 1], to RGB in 0 to 255.

    Hue is taken modulo one, saturation and value are clipped.
    """
    scaled = np.stack(
        [hsv[:, 0] % 1.0 * 360.0, np.clip(hsv[:, 1], 0, 1), np.clip(hsv[:, 2], 0, 1)], 1
    )
    return 255.0 * cv2.cvtColor(scaled[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0]


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """Convert colors (N, 3), RGB in 0 to 255, to CIE L*a*b* with L* in 0 to 100."""
    return cv2.cvtColor((rgb[None] / 255.0).astype(np.float32), cv2.COLOR_RGB2LAB)[0]


def jittered_palette(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return ``PALETTE`` with every color and the illumination changed a little for one image."""
    light = rng.uniform(0.85, 1.05)
    return {name: light * np.array(rgb) + rng.normal(0, 8, 3) for name, rgb in PALETTE.items()}
