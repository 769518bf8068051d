"""Images, maps and boxes as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

TRUE_BOX = (64, 224, 64)  # green
FOUND_BOX = (255, 64, 64)  # red

Picture = NDArray[np.uint8]  # (H, W, 3), red first


def overlay(image: Picture, saliency: NDArray[np.floating], opacity: float = 0.5) -> Picture:
    """Lay a map over an image.

    Args:
        image: Shape (H, W, 3).
        saliency: Shape (H, W), in [0, 1].
        opacity: Of the map, in [0, 1].

    Returns:
        A picture of the same size.
    """
    levels = np.rint(saliency.clip(0, 1) * 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(image, 1 - opacity, colors, opacity, 0)


def with_boxes(
    image: Picture, boxes: Sequence[Sequence[int]], color: tuple[int, int, int]
) -> Picture:
    """Draw boxes x0 y0 x1 y1, corners inside the box, on a copy of an image."""
    image = image.copy()
    for x0, y0, x1, y1 in boxes:
        cv2.rectangle(
            image, (int(x0), int(y0)), (int(x1), int(y1)), color, max(1, len(image) // 100)
        )
    return image


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
    ok, code = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not ok:
        raise OSError(f"{path}: the picture could not be encoded")
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(code.tobytes())
    temporary.replace(path)
