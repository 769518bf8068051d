"""One pass of the network over all tiles of an image, and what is gathered in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.datamodules import standardize
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.pipeline.prediction.tiles.grid import Grid, Tile, tile_weights
from learned_saliency.pipeline.prediction.tiles.network import (
    JoinedMap,
    Seen,
    TileNetwork,
    Whole,
)
from learned_saliency.pipeline.prediction.tiles.scratch import Scratch
from learned_saliency.pipeline.prediction.tiles.sources import Reduced

# In a batch of tiles; F-CAM on the smallest ResNet takes about 400 bytes a pixel.
_PIXELS = {"cpu": 1 << 19}
_PIXELS_OF_ACCELERATORS = 1 << 23


class Gatherer(Protocol):
    """Something that is gathered from tiles."""

    def take(self, tiles: Sequence[Tile], seen: Seen) -> None:
        """Take in a batch of tiles."""
        ...


class WholeImage:
    """Mean activations and class scores of an image, of which each place counts once.

    Where the network's head reads mean activations alone, the scores are those of the whole image;
    of any other head they are the mean of the tiles' scores.

    Args:
        network: The network.
        grid: The tiles.
    """

    def __init__(self, network: TileNetwork, grid: Grid) -> None:
        self._network = network
        self._grid = grid
        self._sums: Tensor | None = None
        self._logits: Tensor | None = None
        self._seen: Seen | None = None
        self._weight = 0.0

    def take(self, tiles: Sequence[Tile], seen: Seen) -> None:
        """Add the activations and scores of a batch."""
        weights = np.stack([_weights(self._grid, tile, seen.features.shape[-2:]) for tile in tiles])
        placed = torch.from_numpy(weights).to(seen.features.device)
        sums = (seen.features * placed[:, None]).sum((0, 2, 3)).double()
        shares = placed.sum((1, 2)).double()
        logits = (seen.logits.double() * shares[:, None]).sum(0)
        self._sums = sums if self._sums is None else self._sums + sums
        self._logits = logits if self._logits is None else self._logits + logits
        self._weight += float(shares.sum())
        self._seen = seen

    def whole(self) -> Whole:
        """Return what is known of the image after all tiles."""
        means = (self._sums / self._weight).to(self._seen.features.dtype)[None]
        logits = self._network.head(self._seen, means)
        if logits is None:
            logits = (self._logits / self._weight).to(means.dtype)[None]
        return Whole(means, logits, self._seen)


class Joiner:
    """Raw maps of an image, joined from those of its tiles in files.

    Args:
        plans: The maps.
        grid: The tiles.
        scratch: Where the maps lie.

    Attributes:
        plans: As above.
        maps: A raw map (h, w), float32, for each plan, after the first batch.
    """

    def __init__(self, plans: Sequence[JoinedMap], grid: Grid, scratch: Scratch) -> None:
        self.plans = plans
        self._grid = grid
        self._scratch = scratch
        self.maps: list[NDArray[np.float32]] = []

    def take(self, tiles: Sequence[Tile], seen: Seen) -> None:
        """Add the maps of a batch."""
        for number, plan in enumerate(self.plans):
            with torch.no_grad():
                found = plan.of(seen).float().cpu().numpy()
            steps = _steps(self._grid, found.shape[1:])
            if number == len(self.maps):
                axes = self._grid.rows, self._grid.columns
                sizes = zip(axes, found.shape[1:], steps, strict=True)
                shape = tuple(axis.cells(count, step) for axis, count, step in sizes)
                self.maps.append(self._scratch.zeros(shape, np.float32))
            for tile, part in zip(tiles, found, strict=True):
                top, left = tile.top // steps[0], tile.left // steps[1]
                place = self.maps[number][top : top + part.shape[0], left : left + part.shape[1]]
                place += part * _weights(self._grid, tile, part.shape)
        self._scratch.release()


def sweep(
    network: TileNetwork,
    image: Reduced,
    grid: Grid,
    gatherers: Sequence[Gatherer],
    tell: Callable[[int, int], None],
) -> None:
    """Run the network over all tiles once; a thread reads the next batch meanwhile.

    Args:
        network: The network.
        image: The image.
        grid: Its tiles.
        gatherers: What takes in the batches.
        tell: Called with the number of tiles done and of all.
    """
    model, tiles = network.model, grid.tiles
    pixels = _PIXELS.get(model.device.type, _PIXELS_OF_ACCELERATORS)
    size = max(1, min(model.batch_size, pixels // (grid.rows.side * grid.columns.side)))
    batches = [tiles[i : i + size] for i in range(0, len(tiles), size)]
    done = 0
    for batch, images in _read_ahead(model, image, grid, batches):
        with model.explaining.autocast(model.device):
            seen = network.look(images.to(network.module.device))
            for gatherer in gatherers:
                gatherer.take(batch, seen)
        done += len(batch)
        tell(done, len(tiles))


def _read_ahead(
    model: SaliencyPredictor, image: Reduced, grid: Grid, batches: Sequence[Sequence[Tile]]
) -> Iterator[tuple[Sequence[Tile], Tensor]]:
    """Yield batches of tiles with their normalized pixels (B, 3, H, W)."""

    def read(batch: Sequence[Tile]) -> Tensor:
        return torch.cat([_read(model, image, grid, tile) for tile in batch])

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(read, batches[0])
        for number, batch in enumerate(batches):
            images = following.result()
            if number + 1 < len(batches):
                following = pool.submit(read, batches[number + 1])
            yield batch, images


def _read(model: SaliencyPredictor, image: Reduced, grid: Grid, tile: Tile) -> Tensor:
    """Read a tile, (1, 3, H, W); beyond the image it is 0, the mean color."""
    height = min(grid.rows.side, image.height - tile.top)
    width = min(grid.columns.side, image.width - tile.left)
    pixels = image.block(tile.top, tile.left, height, width)
    levels = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]
    missing = (0, grid.columns.side - width, 0, grid.rows.side - height)
    return F.pad(standardize(levels, model.mean, model.std), missing)


def _steps(grid: Grid, shape: Sequence[int]) -> tuple[int, int]:
    """Return the pixels from cell to cell of a tile's map, down and across."""
    axes = zip((grid.rows, grid.columns), shape, strict=True)
    return tuple(1 if count == axis.side else grid.lattice.step for axis, count in axes)


def _weights(grid: Grid, tile: Tile, shape: Sequence[int]) -> NDArray[np.float32]:
    """Compute the weight (h, w) of each cell of a tile's map."""
    steps = _steps(grid, shape)
    down = tile_weights(grid.rows, shape[0], steps[0], grid.lattice)[tile.row]
    across = tile_weights(grid.columns, shape[1], steps[1], grid.lattice)[tile.column]
    return down[:, None] * across
