"""Pyramidal TIFF files, written tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from learned_saliency.pipeline.prediction.tiles.scratch import Scratch
from learned_saliency.storage import replacing

TILE = 512  # pixels of a side of a file's tiles, a multiple of 16
_BIG = 1 << 31  # bytes of pixels from which offsets take 64 bits; the usual ones reach 4 GB

#: Function of top, left, height and width to the pixels there, (height, width) or with colors.
Blocks = Callable[[int, int, int, int], NDArray]


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """List the sizes of a pyramid's levels, each half of the one before, down to one tile."""
    sizes = [(height, width)]
    while max(sizes[-1]) > TILE:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def write_pyramid(
    path: Path,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    blocks: Blocks,
    scratch: Scratch,
) -> list[NDArray]:
    """Write an image and its reduced levels, which lie in the image's SubIFDs.

    The file appears when it is whole.

    Args:
        path: The file.
        shape: (H, W) of a gray image, (H, W, 3) of one with colors.
        dtype: Type of the pixels.
        blocks: Gives the pixels of the largest level, asked for once each, in tiles row by row.
        scratch: Where the reduced levels lie until they are written.

    Returns:
        The reduced levels, from fine to coarse, in ``scratch``; pixels are means of 2 x 2.
    """
    import tifffile

    dtype = np.dtype(dtype)
    sizes = level_sizes(*shape[:2])
    levels = [scratch.zeros((*size, *shape[2:]), dtype) for size in sizes[1:]]
    big = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > _BIG
    options = {
        "tile": (TILE, TILE),
        "dtype": dtype,
        "photometric": "rgb" if len(shape) == 3 else "minisblack",
        "compression": "zlib",
        "metadata": None,
    }
    sources = [blocks, *map(_blocks_of, levels)]
    with replacing(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=big) as file:
        for number, (source, size) in enumerate(zip(sources, sizes, strict=True)):
            finer = levels[number] if number < len(levels) else None
            kind = {"subfiletype": 1} if number else {"subifds": len(levels)}
            tiles = _tiles(source, size, finer, scratch)
            file.write(tiles, shape=(*size, *shape[2:]), **options, **kind)
    return levels


def _blocks_of(level: NDArray) -> Blocks:
    return lambda top, left, height, width: level[top : top + height, left : left + width]


def _tiles(
    blocks: Blocks, size: tuple[int, int], smaller: NDArray | None, scratch: Scratch
) -> Iterator[NDArray]:
    """Yield the tiles of a level, and fill the next smaller one."""
    for top in range(0, size[0], TILE):
        for left in range(0, size[1], TILE):
            height, width = min(TILE, size[0] - top), min(TILE, size[1] - left)
            block = np.asarray(blocks(top, left, height, width))
            if smaller is not None:
                half = _halved(block)
                y, x = top // 2, left // 2
                smaller[y : y + half.shape[0], x : x + half.shape[1]] = half
            missing = [(0, TILE - height), (0, TILE - width), *[(0, 0)] * (block.ndim - 2)]
            yield np.ascontiguousarray(np.pad(block, missing, mode="edge"))
        scratch.release()


def _halved(block: NDArray) -> NDArray:
    """Compute the means of 2 x 2 pixels; the last row and column of odd sides count twice."""
    odd = [(0, block.shape[0] % 2), (0, block.shape[1] % 2), *[(0, 0)] * (block.ndim - 2)]
    wide = np.pad(block, odd, mode="edge").astype(np.float32)
    means = (wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]) / 4
    whole = np.issubdtype(block.dtype, np.integer)
    return (np.rint(means) if whole else means).astype(block.dtype)
