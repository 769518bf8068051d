"""Colormaps for saliency maps, and pictures as encoded files."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COLORMAPS = {  # OpenCV's, by the names they have there
    name.removeprefix("COLORMAP_").lower(): getattr(cv2, name)
    for name in sorted(dir(cv2))
    if name.startswith("COLORMAP_")
}

#: Its lightness rises from black to a pale yellow, so that the most salient part looks so; rainbows
#: such as turbo are lightest in the middle.
DEFAULT_COLORMAP = "inferno"

Picture = NDArray[np.uint8]  # (H, W, 3), red first
Color = tuple[int, int, int]  # red, green, blue, 0..255


def colorize(saliency: NDArray[np.floating], colormap: str = DEFAULT_COLORMAP) -> Picture:
    """Turn a map into a color picture.

    Args:
        saliency: Shape (H, W), in [0, 1].
        colormap: One of ``COLORMAPS``.

    Returns:
        Shape (H, W, 3).

    Raises:
        ValueError: If ``colormap`` is unknown.
    """
    if colormap not in COLORMAPS:
        raise ValueError(f"colormap must be one of {', '.join(COLORMAPS)}, got {colormap!r}")
    levels = np.rint(saliency.clip(0, 1) * 255).astype(np.uint8)
    colors = cv2.applyColorMap(levels, COLORMAPS[colormap])
    return cv2.cvtColor(colors, cv2.COLOR_BGR2RGB, dst=colors)


def encode_png(picture: Picture | NDArray[np.uint16]) -> bytes:
    """Encode a picture, or a gray one of 8 or 16 bits and shape (H, W), as PNG."""
    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    ok, code = cv2.imencode(".png", pixels)
    if not ok:
        raise OSError(f"a picture of shape {picture.shape} could not be encoded")
    return code.tobytes()
