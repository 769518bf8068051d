"""Drawings on an image: maps, outlines, boxes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from learned_saliency.visualization.colors import DEFAULT_COLORMAP, Color, Picture, colorize

# Neither is a color of the default color map, and they differ for color-blind eyes, too.
TRUE_BOX = (64, 224, 64)  # green
FOUND_BOX = (48, 160, 255)  # blue
REGION = (255, 128, 224)  # pink


def overlay(
    image: Picture,
    saliency: NDArray[np.floating],
    opacity: float = 0.5,
    colormap: str = DEFAULT_COLORMAP,
) -> Picture:
    """Lay a map over an image.

    Args:
        image: Shape (H, W, 3).
        saliency: Shape (H, W), in [0, 1].
        opacity: Opacity of the map, in [0, 1].
        colormap: See `colorize`.

    Returns:
        A picture of the same size.
    """
    colors = colorize(saliency, colormap)
    return cv2.addWeighted(image, 1 - opacity, colors, opacity, 0, dst=colors)


def with_contour(
    image: Picture, saliency: NDArray[np.floating], threshold: float, color: Color
) -> Picture:
    """Draw the outlines of the regions that get boxes, on a copy of an image.

    Args:
        image: Shape (H, W, 3).
        saliency: Shape (H, W), in [0, 1].
        threshold: Fraction of the map's maximum, in [0, 1); see `metrics.boxes_from_saliency`.
        color: Red, green and blue, 0..255.

    Returns:
        A picture of the same size; without outlines for a map of zeros.
    """
    image = image.copy()
    levels = (saliency * 255).astype(np.uint8)
    above = cv2.threshold(levels, int(threshold * int(levels.max())), 1, cv2.THRESH_BINARY)[1]
    outlines = cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    cv2.drawContours(image, outlines, -1, color, _line_width(image), cv2.LINE_AA)
    return image


def with_boxes(image: Picture, boxes: Sequence[Sequence[int]], color: Color) -> Picture:
    """Draw boxes x0 y0 x1 y1, corners inside the box, on a copy of an image."""
    image = image.copy()
    for x0, y0, x1, y1 in boxes:
        cv2.rectangle(image, (int(x0), int(y0)), (int(x1), int(y1)), color, _line_width(image))
    return image


def _line_width(image: Picture) -> int:
    return max(1, min(image.shape[:2]) // 100)
