"""Masks as pictures: a PNG per image whose pixels hold the classes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from learned_saliency.pipeline.prediction.labels.base import (
    Files,
    Fragments,
    LabelFormat,
    LabelledImage,
)
from learned_saliency.visualization import encode_png

_COLORS = 256  # colors of a palette, the last being that of VOC's borders


class PNG(LabelFormat):
    """``masks/STEM.png`` with 0 for background and the class's number plus 1, and ``names.txt``.

    Up to 254 classes have VOC's palette in 8 bits, and 255, its border, stays free; more are 16-bit
    gray. Where objects overlap, the most probable class counts.
    """

    name = "png"

    def image_files(self, image: LabelledImage) -> Iterator[tuple[str, bytes]]:
        """Give the file of an image."""
        few = len(self.class_names) < _COLORS - 1
        values = np.zeros((image.height, image.width), np.uint8 if few else np.uint16)
        for found in reversed(image.objects):
            values[found.mask] = found.label + 1
        yield f"masks/{image.stem}.png", _with_palette(values) if few else encode_png(values)

    def joined_files(self, fragments: Fragments) -> Files:
        """Give the file of the names, lines of value and name."""
        names = ["background", *self.class_names]
        yield "names.txt", (f"{value},{name}\n" for value, name in enumerate(names))


def _with_palette(values: np.ndarray) -> bytes:
    picture = Image.fromarray(values)
    picture.putpalette(_palette())
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _palette() -> bytes:
    """Compute VOC's colors: bits of a number go in turn to red, green and blue, highest first."""
    numbers = np.arange(_COLORS)
    colors = np.zeros((_COLORS, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype("u1")
    return colors.tobytes()
