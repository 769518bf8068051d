"""Words around pictures: captions below them, a color bar, a legend of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from learned_saliency.visualization.colors import Color, Picture, colorize

_INK, _PAPER = (0, 0, 0), (255, 255, 255)
_LEAST_WIDTH = 240  # pixels of a captioned picture: narrower ones get white at their right
_SIZES = (12, 48)  # smallest and largest letters, pixels

_LAST_WORD = 8  # letters of a last word that a shortened line keeps

Legend = Sequence[tuple[str, Color]]  # names of what is drawn, with its colors


def with_caption(
    picture: Picture, lines: Sequence[str], colormap: str | None = None, legend: Legend = ()
) -> Picture:
    """Write lines, a color bar and a legend below a picture, none of whose pixels changes.

    Args:
        picture: Shape (H, W, 3); a narrow one is widened by white at its right.
        lines: A line that is too long loses its end, but for a short last word.
        colormap: Color map that the bar shows, see `colorize`; None for no bar.
        legend: What the colors of boxes mean.

    Returns:
        A picture that is higher, with the given one at its top left.
    """
    height, width = picture.shape[:2]
    size = min(max(round(min(height, width) / 24), _SIZES[0]), _SIZES[1])
    wide = max(width, _LEAST_WIDTH)
    parts = [text_block(lines, wide, size), legend_block(wide, size, colormap, legend)]
    whole = np.full((height, wide, 3), _PAPER, np.uint8)
    whole[:, :width] = picture
    return np.concatenate([whole, *parts])


def text_block(lines: Sequence[str], width: int, size: int = 12) -> Picture:
    """Write lines of black text on white.

    Args:
        lines: The lines; none give a picture of height 0.
        width: Of the picture, pixels.
        size: Of the letters, pixels.
    """
    step = _line_height(size)
    block = Image.new("RGB", (width, step * len(lines) + (size // 3 if lines else 0)), _PAPER)
    draw, font = ImageDraw.Draw(block), _font(size)
    for row, line in enumerate(lines):
        shown = _shortened(line, width - size // 2, font)
        draw.text((size // 4, row * step + size // 6), shown, _INK, font)
    return np.asarray(block)


def legend_block(
    width: int, size: int, colormap: str | None = None, legend: Legend = ()
) -> Picture:
    """Show what colors mean: a bar of a color map from 0 to 1, and a frame for each kind of box.

    Args:
        width: Of the picture, pixels; entries that do not fit beside each other go below.
        size: Of the letters, pixels.
        colormap: See `colorize`; None for no bar.
        legend: Names of boxes and their colors.
    """
    entries = [*([] if colormap is None else [_bar(size, colormap)])]
    entries += [_frame(size, name, color) for name, color in legend]
    gap, step = size, _line_height(size)
    places, x, y = [], size // 4, 0
    for entry in entries:
        if places and x + entry.width > width:
            x, y = size // 4, y + step
        places.append((x, y))
        x += entry.width + gap
    block = Image.new("RGB", (width, y + step if entries else 0), _PAPER)
    for entry, place in zip(entries, places, strict=True):
        block.paste(entry, place)
    return np.asarray(block)


def _bar(size: int, colormap: str) -> Image.Image:
    """The colors of a map's values between the figures 0 and 1."""
    font, step = _font(size), _line_height(size)
    left, right = (round(font.getlength(text)) for text in ("0 ", " 1"))
    long = 5 * size
    entry = Image.new("RGB", (left + long + right, step), _PAPER)
    draw = ImageDraw.Draw(entry)
    draw.text((0, size // 6), "0 ", _INK, font)
    draw.text((left + long, size // 6), " 1", _INK, font)
    values = np.tile(np.linspace(0, 1, long), (size - size // 4, 1))
    entry.paste(Image.fromarray(colorize(values, colormap)), (left, size // 3))
    return entry


def _frame(size: int, name: str, color: Color) -> Image.Image:
    """A small frame of a color and what it stands for."""
    font = _font(size)
    across = round(1.4 * size)
    entry = Image.new(
        "RGB", (across + round(font.getlength(f" {name}")), _line_height(size)), _PAPER
    )
    draw = ImageDraw.Draw(entry)
    draw.rectangle((0, size // 3, across - 1, size), outline=color, width=max(2, size // 6))
    draw.text((across, size // 6), f" {name}", _INK, font)
    return entry


def _shortened(line: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Shorten a line to what fits, before its last word if that is short: the probability."""
    if font.getlength(line) <= width:
        return line
    text, _, last = line.rpartition(" ")
    if not text or len(last) > _LAST_WORD:
        text, last = line, ""
    for kept in range(len(text) - 1, 0, -1):
        shown = f"{text[:kept].rstrip(' ,')}… {last}".rstrip()
        if font.getlength(shown) <= width:
            return shown
    return ""


def _line_height(size: int) -> int:
    return round(1.4 * size)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek and Cyrillic letters, signs."""
    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
