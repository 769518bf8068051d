"""Choice of tiles for a network: their side, overlap and weights."""

from __future__ import annotations

from typing import NamedTuple

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.tiles.grid import Lattice
from learned_saliency.pipeline.prediction.tiles.network import TileNetwork

AUTO = "auto"
_LARGEST = 768  # pixels of a side that is chosen
_SHARE = 4  # a chosen side is so many times the overlap, where that is not too large


class Layout(NamedTuple):
    """Layout of an image in tiles, and how near the joined map is to that of one pass.

    Attributes:
        lattice: How the tiles lie.
        reach: Pixels from a tile's border within which a map differs from one pass over the image;
            None where a network looks at its whole input.
    """

    lattice: Lattice
    reach: int | None

    @property
    def is_exact(self) -> bool:
        """Tell whether nothing counts that differs from one pass over the whole image."""
        return self.reach is not None and self.lattice.cut >= self.reach

    def __str__(self) -> str:
        side, overlap = self.lattice.side, self.lattice.overlap
        tiles = f"tiles of {side} x {side} pixels that share {overlap}"
        if self.reach is None:
            return f"{tiles}; the network looks at each as a whole, neighbors are blended"
        if self.is_exact:
            return f"{tiles}; a tile's border reaches {self.reach}, which are cut away"
        return (
            f"{tiles}; a tile's border reaches {self.reach} pixels, which are blended: a larger "
            "tile or tile_overlap comes nearer to one pass over the image"
        )


def choose_layout(network: TileNetwork, config: DictConfig) -> Layout:
    """Choose the tiles, or check those that the user asked for.

    Raises:
        UserError: If ``tile`` or ``tile_overlap`` do not suit the network.
    """
    step, rigid = network.step()
    reach = None if rigid else network.reach(step)
    side = _side(config, network.model.size, step, rigid, reach)
    overlap = _overlap(config, side, step, reach)
    if reach is None:
        cut = 0
    elif overlap > 2 * reach:
        cut = reach
    else:
        cut = overlap // 4
    return Layout(Lattice(side, step, overlap, cut, rigid), reach)


def _side(config: DictConfig, size: int, step: int, rigid: bool, reach: int | None) -> int:
    """Choose the side of a tile."""
    if config.tile == AUTO:
        if rigid or reach is None:
            return -(-size // step) * step
        wanted = min(_LARGEST, max(size, _SHARE * (2 * reach + step)))
        return -(-wanted // step) * step
    side = int(config.tile)
    if rigid and side != size:
        raise UserError(f"tile={side}: this network takes images of {size} pixels alone.")
    if side % step or side < 2 * step:
        near = max(2, round(side / step)) * step
        raise UserError(
            f"tile={side}: the network's cells repeat every {step} pixels; give a multiple of "
            f"these, at least two: {near}."
        )
    return side


def _overlap(config: DictConfig, side: int, step: int, reach: int | None) -> int:
    """Choose how many pixels neighbors share: what the border reaches, twice, and one cell."""
    most = side - step
    if config.tile_overlap != AUTO:
        overlap = int(config.tile_overlap)
        if overlap % step or not step <= overlap <= most:
            raise UserError(
                f"tile_overlap={overlap}: give a multiple of the {step} pixels from cell to cell, "
                f"from {step} to {most}."
            )
        return overlap
    half = max(1, side // (2 * step)) * step
    wanted = side // 4 if reach is None else 2 * reach + step
    return min(max(1, -(-wanted // step)) * step, half, most)
