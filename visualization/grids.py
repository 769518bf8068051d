"""Layouts of several pictures in one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from learned_saliency.visualization.colors import Picture


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Put pictures of one height next to each other, a white gap between them."""
    gap = np.full((len(pictures[0]), max(2, pictures[0].shape[1] // 64), 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def grid(rows: Sequence[Sequence[Picture]], titles: Sequence[str], cell: int = 160) -> Picture:
    """Lay pictures out in rows and columns.

    Args:
        rows: Pictures, all of one size, as many in each row.
        titles: Titles of the columns.
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
