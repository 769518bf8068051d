"""Bilinear resizing with antialiasing: Pillow's pixels, only where they are wanted, and sooner.

Pillow resizes in two passes, one along each axis. A value of a pass is a sum of up to a few dozen
pixels weighted by integers, multiples of 2^-22, rounded to 8 bits. Here a pass is a weighted sum of
table rows, for which torch has a vectorized kernel that works in single precision. The weights are
split into their upper and their lower 8 bits, so that both sums are exact.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8] | NDArray[np.float32]  # (H, W, 3), or (H, W, C) of floats

_BITS, _LOW_BITS = 22, 8  # Pillow's weights have 22 bits, here split into 14 and 8
_MOST_SCALE = 100  # then a sum of the lower parts, of levels and weights below 2^8, is below 2^24
_UNIT_ROW = np.array([1, 0], np.float32).view(np.uint8)  # scale and offset of a table row's bytes
_Rule = Callable[[tuple[int, int], tuple[int, int]], bool]
# height, width and what they are resized to, width first: on both sides of each rule's border
_SAMPLES = (
    *((9, 7, 6, 5), (40, 9, 7, 8), (30, 25, 20, 20), (31, 25, 20, 20), (32, 25, 19, 20)),
    *((6, 5, 11, 9), (7, 9, 12, 6), (9, 3, 8, 12), (90, 200, 30, 40), (50, 8, 4, 10)),
)


class Window(NamedTuple):
    """Part of a resized image.

    Attributes:
        left: First column.
        top: First row.
        width: Number of columns, 1 or more.
        height: Number of rows, 1 or more.
        mirrored: Whether the part is turned left to right once it is cut out.
    """

    left: int
    top: int
    width: int
    height: int
    mirrored: bool = False


class _Taps(NamedTuple):
    """Sums that make a pass.

    Attributes:
        sources: Source indices of M sums, int32 (M, T); first and last ones ascend.
        weights: Upper and lower parts of their weights, float32 (2, M, T).
    """

    sources: NDArray[np.int32]
    weights: NDArray[np.float32]

    def part(self, start: int, count: int) -> tuple["_Taps", slice]:
        """Take some of the sums; return the slice of the sources that they need, from 0 on."""
        sources = self.sources[start : start + count]
        first, last = int(sources[0, 0]), int(sources[-1, -1])
        return _Taps(sources - first, self.weights[:, start : start + count]), slice(
            first, last + 1
        )


def resize_window(pixels: Pixels, edges: tuple[int, int], window: Window) -> Pixels:
    """Resize an image and cut a window out of it.

    Args:
        pixels: uint8 (H, W, 3), or float32 (H, W, C).
        edges: Width and height to resize to, 1 or more.
        window: The part that is wanted, inside of these.

    Returns:
        (height, width, 3) or (height, width, C) of the window: bit by bit what
        ``Image.resize(edges, BILINEAR)`` of the installed Pillow has there, of floats per channel.
    """
    if pixels.dtype != np.uint8:
        return _by_pillow(pixels, edges, window)
    down_first = _rule()
    if down_first is None or max(_scale(pixels, edges)) > _MOST_SCALE:
        return _by_pillow(pixels, edges, window)
    return _by_sums(pixels, edges, window, down_first)


def _scale(pixels: Pixels, edges: tuple[int, int]) -> tuple[float, float]:
    return pixels.shape[1] / edges[0], pixels.shape[0] / edges[1]


def _by_sums(pixels: Pixels, edges: tuple[int, int], window: Window, down_first: _Rule) -> Pixels:
    height, width = pixels.shape[:2]
    across, columns = _taps(width, edges[0]).part(window.left, window.width)
    down, rows = _taps(height, edges[1]).part(window.top, window.height)
    if window.mirrored:
        across = _Taps(across.sources[::-1].copy(), across.weights[:, ::-1].copy())
    part = pixels[rows, columns]
    if down_first((height, width), edges[::-1]):
        part = _pass(part, down, transpose=False)  # (window.height, len(columns), 3)
        return cv2.transpose(_pass(part, across))
    part = _pass(part, across)  # (window.width, len(rows), 3)
    return _pass(part, down)


def resizes_down_first() -> bool:
    """Tell whether the installed Pillow begins with the height where that loses most.

    Pillow does so from version 13 on; before, it always began with the width.
    """
    return _rule() is not _across_first


@cache
def _rule() -> _Rule | None:
    """Find the rule by which the installed Pillow works; None where these sums give other pixels.

    Another version may work otherwise, and another machine lack the kernel.
    """
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (*sizes[:2], 3), dtype=np.uint8) for sizes in _SAMPLES]
    for rule in (_down_first_where_much_is_lost, _across_first):
        pairs = zip(images, _SAMPLES, strict=True)
        if all(_is_pillows(image, sizes[2:], rule) for image, sizes in pairs):
            return rule
    return None


def _down_first_where_much_is_lost(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Choose the first axis as Pillow does from version 13 on; sizes are (height, width)."""
    lost = size[0] - target[0]
    return lost > 0 and lost > 2 * (size[1] - target[1])


def _across_first(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Choose the first axis as Pillow did before."""
    return False


def _is_pillows(image: Pixels, edges: tuple[int, int], rule: _Rule) -> bool:
    whole = Window(0, 0, *edges)
    try:
        found = _by_sums(image, edges, whole, rule)
    except (AttributeError, RuntimeError):  # no such kernel
        return False
    return np.array_equal(found, _by_pillow(image, edges, whole))


def _by_pillow(pixels: Pixels, edges: tuple[int, int], window: Window) -> Pixels:
    left, top, width, height, mirrored = window
    part = resize_part(pixels, edges)[top : top + height, left : left + width]
    return np.ascontiguousarray(part[:, ::-1]) if mirrored else part


def resize_part(
    pixels: Pixels, edges: tuple[int, int], part: tuple[float, float, float, float] | None = None
) -> Pixels:
    """Resize a part of an image as Pillow does it; floats are rounded nowhere.

    Args:
        pixels: uint8 (H, W, 3), or float32 (H, W, C).
        edges: Width and height to resize to, 1 or more.
        part: Left, top, right and bottom in pixels of the image; None for all of it.
    """
    options = edges, Image.Resampling.BILINEAR, *(() if part is None else (part,))
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize(*options))
    planes = (Image.fromarray(plane).resize(*options) for plane in np.moveaxis(pixels, 2, 0))
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


@lru_cache(maxsize=1024)
def _taps(length: int, target: int) -> _Taps:
    """Compute the weights of a pass from ``length`` to ``target`` pixels as Pillow does.

    The order of the operations in double precision is Pillow's, on which the last bit depends.
    """
    scale = length / target
    support = max(scale, 1.0)
    centers = (np.arange(target) + 0.5) * scale
    first = np.maximum((centers - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centers + support + 0.5).astype(np.int64), length)
    offsets = np.arange(int((last - first).max()))
    sources = first[:, None] + offsets
    distances = np.abs((sources - centers[:, None] + 0.5) * (1.0 / support))
    weights = np.where((sources < last[:, None]) & (distances < 1.0), 1.0 - distances, 0.0)
    total = np.zeros(target)
    for column in weights.T:  # one after the other: `sum` adds in another order
        total += column
    rounded = (0.5 + weights / total[:, None] * (1 << _BITS)).astype(np.int64)
    high = (rounded >> _LOW_BITS) * 2.0 ** (_LOW_BITS - _BITS)
    low = (rounded & ((1 << _LOW_BITS) - 1)) * 2.0**-_LOW_BITS
    sources = np.minimum(sources, length - 1).astype(np.int32)
    return _Taps(sources, np.stack([high, low]).astype(np.float32))


def _pass(image: Pixels, taps: _Taps, transpose: bool = True) -> Pixels:
    """Sum up table rows.

    Args:
        image: uint8 (K, N, 3), whose columns are the rows of the table.
        taps: M sums of these rows.
        transpose: Whether ``image`` has to be transposed; otherwise it is (N, K, 3).

    Returns:
        uint8 (M, K, 3).
    """
    count, length = image.shape[:2] if not transpose else image.shape[1::-1]
    table = np.empty((count, 3 * length + len(_UNIT_ROW)), np.uint8)
    table[:, 3 * length :] = _UNIT_ROW
    rows = table[:, : 3 * length].reshape(count, length, 3)  # a view
    if transpose:
        cv2.transpose(image, rows)
    else:
        rows[...] = image
    # the lower part first and alone: the fewer sums at once, the more stay in the processor's cache
    low = _sums(table, taps.sources, taps.weights[1]).floor_()
    high = _sums(table, taps.sources, taps.weights[0])
    step = 2.0 ** (_LOW_BITS - _BITS)
    high.add_(low, alpha=step)
    # half a step more, and no sum lies half way between two levels
    levels = cv2.convertScaleAbs(high.numpy(), alpha=1, beta=step / 2)
    return levels.reshape(len(levels), length, 3)


def _sums(
    table: NDArray[np.uint8], sources: NDArray[np.int32], weights: NDArray[np.float32]
) -> torch.Tensor:
    """Sum up the rows of a table that (M, T) ``sources`` name, each with its weight."""
    ends = torch.arange(0, sources.size + 1, sources.shape[1], dtype=torch.int32)
    return torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
        torch.from_numpy(table),
        torch.from_numpy(sources.reshape(-1)),
        ends,
        per_sample_weights=torch.from_numpy(weights.reshape(-1)),
        include_last_offset=True,
    )
