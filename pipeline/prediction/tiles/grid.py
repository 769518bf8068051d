"""Places of tiles on an image, and the weights by which their maps are joined."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Lattice(NamedTuple):
    """Lattice on which a network's tiles lie.

    Attributes:
        side: Side of a tile in pixels, a multiple of ``step``.
        step: Pixels by which the network's cells repeat; all tiles begin at multiples of it.
        overlap: Pixels that neighboring tiles share at least, a multiple of ``step`` below
            ``side``.
        cut: Pixels at a tile's border towards a neighbor that count for nothing, below half of
            ``overlap``. Over the rest of the overlap the weight of a tile rises from 0 to 1.
        rigid: Whether the network takes images of ``side`` alone; else smaller images are one
            smaller tile.
    """

    side: int
    step: int
    overlap: int
    cut: int
    rigid: bool


class Axis(NamedTuple):
    """Tiles along one axis of an image.

    Attributes:
        pixels: Pixels that the tiles cover together: those of the image, and fewer than a step
            more, or a rigid tile.
        side: Side of each tile in pixels.
        starts: First pixel of each tile, multiples of the step, increasing.
    """

    pixels: int
    side: int
    starts: tuple[int, ...]

    @classmethod
    def of(cls, length: int, lattice: Lattice) -> Axis:
        """Lay tiles along ``length`` pixels, at least 1, the last one flush with the end."""
        covered = -(-length // lattice.step) * lattice.step
        if covered <= lattice.side:
            side = lattice.side if lattice.rigid else covered
            return cls(side, side, (0,))
        last = covered - lattice.side
        starts = [*range(0, last, lattice.side - lattice.overlap), last]
        return cls(covered, lattice.side, tuple(starts))

    def cells(self, count: int, step: int) -> int:
        """Count the cells of the whole axis where a tile has ``count``, one each ``step``."""
        return self.starts[-1] // step + count


@lru_cache(maxsize=32)
def tile_weights(
    axis: Axis, count: int, step: int, lattice: Lattice
) -> tuple[NDArray[np.float32], ...]:
    """Compute the weight of each cell of each tile, so that those of one place add up to 1.

    Args:
        axis: The tiles along one axis.
        count: Cells of a tile along the axis.
        step: Pixels from cell to cell.
        lattice: How the tiles lie.

    Returns:
        An array (count,) in [0, 1] for each tile.
    """
    centers = (np.arange(count) + 0.5) * axis.side / count
    total = np.zeros(axis.cells(count, step))
    found = []
    for number, start in enumerate(axis.starts):
        before = centers if number > 0 else np.inf
        after = axis.side - centers if number < len(axis.starts) - 1 else np.inf
        ramp = (np.minimum(before, after) - lattice.cut) / (lattice.overlap - 2 * lattice.cut)
        own = np.broadcast_to(ramp, (count,)).clip(0, 1)
        first = start // step
        total[first : first + count] += own
        found.append((first, own))
    return tuple((own / total[first : first + count]).astype(np.float32) for first, own in found)


class Tile(NamedTuple):
    """A tile of an image.

    Attributes:
        row: Number of the tile along the height.
        column: Number of the tile along the width.
        top: First row of pixels.
        left: First column of pixels.
    """

    row: int
    column: int
    top: int
    left: int


class Grid(NamedTuple):
    """Tiles of an image.

    Attributes:
        lattice: How the tiles lie.
        rows: Tiles along the height.
        columns: Tiles along the width.
    """

    lattice: Lattice
    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, height: int, width: int, lattice: Lattice) -> Grid:
        """Cover an image of so many pixels."""
        return cls(lattice, Axis.of(height, lattice), Axis.of(width, lattice))

    @property
    def tiles(self) -> list[Tile]:
        """All tiles, row by row."""
        return [
            Tile(row, column, top, left)
            for row, top in enumerate(self.rows.starts)
            for column, left in enumerate(self.columns.starts)
        ]
