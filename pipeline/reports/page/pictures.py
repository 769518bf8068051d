"""Pictures as data URIs, maps among them: colored, and transparent where they are low."""

from __future__ import annotations

import base64
import io
from functools import cache

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from learned_saliency.visualization import DEFAULT_COLORMAP, colorize

_LEVELS = 64  # finer steps of a colored map cannot be told apart and take more room


def data_uri(content: bytes, kind: str) -> Markup:
    """Write a picture as a data URI.

    Args:
        content: The picture's file.
        kind: Its type, ``"png"`` or ``"jpeg"``.
    """
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode()}")


def gray_levels(content: bytes) -> NDArray[np.uint8]:
    """Decode a gray picture (H, W).

    Raises:
        ValueError: If it is none.
    """
    levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if levels is None:
        raise ValueError("a map of the gallery is no picture")
    return levels


def map_layer(levels: NDArray[np.uint8]) -> Markup:
    """Color a map of 8 bits (H, W); its opacity rises with its values from none to full."""
    colors, opacity = _palette()
    picture = Image.fromarray((levels.astype(np.uint16) * _LEVELS // 256).astype(np.uint8), "P")
    picture.putpalette(colors)
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True, transparency=opacity)
    return data_uri(content.getvalue(), "png")


@cache
def _palette() -> tuple[bytes, bytes]:
    """Return the colors, red, green and blue, and the opacities of all levels."""
    values = np.linspace(0, 1, _LEVELS)
    colors = colorize(values[None], DEFAULT_COLORMAP)[0]
    return colors.tobytes(), np.rint(values * 255).astype(np.uint8).tobytes()
