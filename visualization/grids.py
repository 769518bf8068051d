"""Layouts of several pictures in one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from learned_saliency.visualization.captions import Legend, legend_block, text_block
from learned_saliency.visualization.colors import Picture

_GAP, _LETTERS = 4, 12  # pixels


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Put pictures of one height next to each other, a white gap between them."""
    gap = np.full((len(pictures[0]), max(2, pictures[0].shape[1] // 64), 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def grid(
    rows: Sequence[Sequence[Picture]],
    titles: Sequence[str],
    cell: int = 160,
    *,
    captions: Sequence[Sequence[Sequence[str]]] | None = None,
    colormap: str | None = None,
    legend: Legend = (),
) -> Picture:
    """Lay pictures out in rows and columns.

    Args:
        rows: Pictures, all of one size, as many in each row.
        titles: Titles of the columns.
        cell: Width of a column in pixels.
        captions: Lines below each picture, by row and column; None for none.
        colormap: Color map that a bar at the bottom shows; None for no bar.
        legend: What the colors of boxes mean, at the bottom.

    Returns:
        One picture: titles on top, then the rows, then bar and legend.
    """
    width = cell + _GAP
    heads = np.concatenate([text_block([title], width, _LETTERS) for title in titles], axis=1)
    parts = [heads]
    for r, pictures in enumerate(rows):
        lines = captions[r] if captions is not None else [()] * len(pictures)
        most = max(map(len, lines))
        cells = []
        for picture, words in zip(pictures, lines, strict=True):
            below = text_block([*words, *[""] * (most - len(words))], width, _LETTERS)
            cells.append(np.concatenate([_framed(picture, cell), below]))
        parts.append(np.concatenate(cells, axis=1))
    parts.append(legend_block(parts[0].shape[1], _LETTERS, colormap, legend))
    return np.concatenate(parts)


def _framed(picture: Picture, cell: int) -> Picture:
    """A picture of the width of a cell, and white at its right and below."""
    height = round(cell * picture.shape[0] / picture.shape[1])
    way = cv2.INTER_AREA if height < len(picture) else cv2.INTER_LINEAR
    framed = np.full((height + _GAP, cell + _GAP, 3), 255, np.uint8)
    framed[:height, :cell] = cv2.resize(picture, (cell, height), interpolation=way)
    return framed
