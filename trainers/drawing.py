"""Images, maps and boxes as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

TRUE_BOX = (64, 224, 64)  # green
FOUND_BOX = (255, 64, 64)  # red

COLORMAPS = {  # OpenCV's, by the names they have there
    name.removeprefix("COLORMAP_").lower(): getattr(cv2, name)
    for name in sorted(dir(cv2))
    if name.startswith("COLORMAP_")
}

Picture = NDArray[np.uint8]  # (H, W, 3), red first


def colorize(saliency: NDArray[np.floating], colormap: str = "turbo") -> Picture:
    """Show a map in colors.

    Args:
        saliency: Shape (H, W), in [0, 1].
        colormap: One of ``COLORMAPS``.

    Returns:
        Shape (H, W, 3).

    Raises:
        ValueError: If there is no such color map.
    """
    if colormap not in COLORMAPS:
        raise ValueError(f"colormap must be one of {', '.join(COLORMAPS)}, got {colormap!r}")
    levels = np.rint(saliency.clip(0, 1) * 255).astype(np.uint8)
    colors = cv2.applyColorMap(levels, COLORMAPS[colormap])
    return cv2.cvtColor(colors, cv2.COLOR_BGR2RGB, dst=colors)


def overlay(
    image: Picture,
    saliency: NDArray[np.floating],
    opacity: float = 0.5,
    colormap: str = "turbo",
) -> Picture:
    """Lay a map over an image.

    Args:
        image: Shape (H, W, 3).
        saliency: Shape (H, W), in [0, 1].
        opacity: Of the map, in [0, 1].
        colormap: See `colorize`.

    Returns:
        A picture of the same size.
    """
    colors = colorize(saliency, colormap)
    return cv2.addWeighted(image, 1 - opacity, colors, opacity, 0, dst=colors)


def with_contour(
    image: Picture, saliency: NDArray[np.floating], threshold: float, color: tuple[int, int, int]
) -> Picture:
    """Draw the outlines of the regions that boxes are put around, on a copy of an image.

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


def with_boxes(
    image: Picture, boxes: Sequence[Sequence[int]], color: tuple[int, int, int]
) -> Picture:
    """Draw boxes x0 y0 x1 y1, corners inside the box, on a copy of an image."""
    image = image.copy()
    for x0, y0, x1, y1 in boxes:
        cv2.rectangle(image, (int(x0), int(y0)), (int(x1), int(y1)), color, _line_width(image))
    return image


def _line_width(image: Picture) -> int:
    return max(1, min(image.shape[:2]) // 100)


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Put pictures of one height next to each other, a white gap between them."""
    gap = np.full((len(pictures[0]), max(2, pictures[0].shape[1] // 64), 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def grid(rows: Sequence[Sequence[Picture]], titles: Sequence[str], cell: int = 160) -> Picture:
    """Lay pictures out in rows and columns.

    Args:
        rows: Pictures of one size each, as many in each row.
        titles: Of the columns.
        cell: Width of a column in pixels.

    Returns:
        One picture, titles on top.
    """
    height = round(cell * rows[0][0].shape[0] / rows[0][0].shape[1])
    gap, top = 4, 22
    sheet = np.full(
        (top + len(rows) * (height + gap), len(titles) * (cell + gap), 3), 255, dtype=np.uint8
    )
    for column, title in enumerate(titles):
        place = (column * (cell + gap) + 2, top - 7)
        cv2.putText(sheet, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    for row, pictures in enumerate(rows):
        y = top + row * (height + gap)
        for column, picture in enumerate(pictures):
            x = column * (cell + gap)
            sheet[y : y + height, x : x + cell] = cv2.resize(
                picture,
                (cell, height),
                interpolation=cv2.INTER_AREA if height < len(picture) else cv2.INTER_LINEAR,
            )
    return sheet


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture under a temporary name, then rename it; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(encode_png(picture))
    temporary.replace(path)


def encode_png(picture: Picture | NDArray[np.uint16]) -> bytes:
    """Encode a picture, or a gray one of 8 or 16 bits and shape (H, W), as PNG."""
    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    ok, code = cv2.imencode(".png", pixels)
    if not ok:
        raise OSError(f"a picture of shape {picture.shape} could not be encoded")
    return code.tobytes()
