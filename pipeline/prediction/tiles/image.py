"""Explanation of one image in tiles, and its files and record."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from learned_saliency.datamodules import ImageError, Pixels
from learned_saliency.pipeline.prediction.outcomes import ClassScore, PlacedMap, Request
from learned_saliency.pipeline.prediction.sources import Found
from learned_saliency.pipeline.prediction.tiles.grid import Grid
from learned_saliency.pipeline.prediction.tiles.joining import Joiner, WholeImage, sweep
from learned_saliency.pipeline.prediction.tiles.layout import Layout
from learned_saliency.pipeline.prediction.tiles.maps import Boxed, LargeMap
from learned_saliency.pipeline.prediction.tiles.network import JoinedMap, TileNetwork
from learned_saliency.pipeline.prediction.tiles.pyramid import write_pyramid
from learned_saliency.pipeline.prediction.tiles.scratch import Scratch
from learned_saliency.pipeline.prediction.tiles.sources import Reduced, Source, open_source
from learned_saliency.pipeline.prediction.writing import Style, score_record
from learned_saliency.storage import write_bytes
from learned_saliency.trainers import choose_classes
from learned_saliency.visualization import encode_png, overlay

_PREVIEW = 2048  # longest side of a preview in pixels
_READ = 2048  # pixels of a side that is read at once for it


class TileOptions(NamedTuple):
    """Options of large images; see ``configs/predict.yaml``."""

    reduce: int
    values: str
    overlay: bool
    boxes: int

    @classmethod
    def of(cls, config: DictConfig) -> TileOptions:
        """Read the options."""
        return cls(**{name: config[f"tile_{name}"] for name in cls._fields})


class LargeImages:
    """Explains images in tiles, one after the other, and writes their files.

    Args:
        network: The network.
        layout: How images are laid out in tiles.
        folder: The folder ``out``.
        style: Style of the previews.
        options: Options of large images.
        request: The classes to explain.
        max_pixels: Most pixels of an image that is decoded as a whole.
        tell: Called with an image's name and the number of tiles done and of all, in each pass.
    """

    def __init__(
        self,
        network: TileNetwork,
        layout: Layout,
        *,
        folder: Path,
        style: Style,
        options: TileOptions,
        request: Request,
        max_pixels: int,
        tell: Callable[[str, int, int], None],
    ) -> None:
        self.network = network
        self.layout = layout
        self.folder = folder
        self.style = style
        self.options = options
        self.max_pixels = max_pixels
        self._request = request
        self._tell = tell

    def explain(self, found: Found) -> dict[str, Any]:
        """Explain an image, write its files, and return its record, ready for JSON.

        Raises:
            ImageError: If the file cannot be read, or the disk has no room for its maps.
            ValueError: If a map is not finite.
        """
        model = self.network.model
        opened = open_source(found.path, self.max_pixels, model.decoding)
        with opened as source, Scratch(self.folder) as scratch:
            image = Reduced(source, self.options.reduce)
            grid = Grid.of(image.height, image.width, self.layout.lattice)
            self._check_room(source, grid)
            joined = self._join(found.name, image, grid, scratch)
            preview = _preview(source)
            maps = []
            for plan, cells in zip(joined.plans, joined.maps, strict=True):
                covered = tuple(
                    axis.pixels * self.options.reduce for axis in (grid.rows, grid.columns)
                )
                large = LargeMap(cells, covered, source.height, source.width, plan.source)
                maps.append(self._write(found, source, joined, plan, large, preview, scratch))
            kind = "scores" if joined.predicted[0].is_score else "predicted"
            return {
                "image": found.name,
                "width": source.width,
                "height": source.height,
                kind: [score_record(score) for score in joined.predicted],
                "tiles": len(grid.tiles),
                "maps": maps,
            }

    def _join(self, name: str, image: Reduced, grid: Grid, scratch: Scratch) -> _Joined:
        """Run the network over the tiles: twice where the maps depend on the whole image."""
        network, targets = self.network, self._request.targets
        scores = WholeImage(network, grid)
        tell = lambda done, count: self._tell(name, done, count)  # noqa: E731
        twice = network.reads_means or (targets is None and network.per_class)
        if twice:
            sweep(network, image, grid, [scores], tell)
            whole = scores.whole()
            targets = self._chosen(whole.logits)
            joiner = Joiner(network.plan(whole, targets), grid, scratch)
            sweep(network, image, grid, [joiner], tell)
        else:
            joiner = Joiner(network.plan(None, targets or []), grid, scratch)
            sweep(network, image, grid, [scores, joiner], tell)
        logits = scores.whole().logits
        explained = network.model.scores(logits, self._chosen(logits))
        return _Joined(joiner.plans, joiner.maps, explained, network.model.scores(logits))

    def _chosen(self, logits: Any) -> list[int]:
        """Return the classes to explain."""
        wanted = self._request
        if wanted.targets is not None:
            return list(wanted.targets)
        activation = self.network.module.activation
        return choose_classes(logits, wanted.top_k, wanted.present, activation)[0].tolist()

    def _check_room(self, source: Source, grid: Grid) -> None:
        """Refuse an image for whose maps the disk has no room."""
        pixels, covered = source.height * source.width, grid.rows.pixels * grid.columns.pixels
        count = len(self.network.model.methods)
        wanted = self._request
        count *= wanted.top_k if wanted.targets is None else len(wanted.targets)
        cell = 1 if self.network.has_pixel_maps else self.layout.lattice.step
        each = 4 * covered / cell**2 + 5 / 3 * np.dtype(self.options.values).itemsize * pixels
        needed = count * (each + (5 * pixels if self.options.overlay else 0))
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ImageError(
                f"its maps need up to {needed / 1e9:.1f} GB in out, where {free / 1e9:.1f} GB are "
                "free; tile_values=uint8 takes less"
            )

    def _write(
        self,
        found: Found,
        source: Source,
        joined: _Joined,
        plan: JoinedMap,
        large: LargeMap,
        preview: Pixels,
        scratch: Scratch,
    ) -> dict[str, Any]:
        """Write the files of a map and return its record."""
        threshold = self.network.model.box_threshold
        explained = joined.score_of(plan)
        stem = f"{found.name}.{plan.method}"
        if self._request.several and explained is not None:
            stem += f"-{explained.index}"
        files = {"overlay": f"{stem}.png", "map": f"{stem}.map.tif"}
        size = source.height, source.width
        boxed = Boxed(large, threshold, self.options.values)
        values = self.options.values
        levels = write_pyramid(self.folder / files["map"], size, values, boxed.block, scratch)
        boxes = boxed.boxes(self.options.boxes)
        small = _small(large, levels, preview.shape[:2], values)
        factor = _factor(*size)
        first = boxes.regions[0].box if boxes.regions else (0, 0, 0, 0)
        box = np.array(first, np.int64) // factor
        placed = PlacedMap(plan.method, explained, small, box, large.flat)
        drawn = self.style.draw(preview, placed, threshold, joined.predicted[0])
        write_bytes(self.folder / files["overlay"], encode_png(drawn))
        if self.options.overlay:
            files["overlay_pyramid"] = f"{stem}.overlay.tif"
            blocks = self._overlay_blocks(source, large)
            write_pyramid(
                self.folder / files["overlay_pyramid"], (*size, 3), np.uint8, blocks, scratch
            )
        kind = "score" if explained is not None and explained.is_score else "class"
        return {
            "method": plan.method,
            kind: None if explained is None else score_record(explained),
            "box": list(first) if boxes.regions else None,
            "boxes": [{"box": list(box), "pixels": pixels} for box, pixels in boxes.regions],
            "regions": boxes.count,
            "flat": large.flat,
            **files,
        }

    def _overlay_blocks(self, source: Source, large: LargeMap) -> Callable[..., Pixels]:
        def block(top: int, left: int, height: int, width: int) -> Pixels:
            pixels = np.ascontiguousarray(source.block(top, left, height, width))
            saliency = large.part(top, left, height, width)
            return overlay(pixels, saliency, self.style.opacity, self.style.colormap)

        return block


class _Joined(NamedTuple):
    """Raw maps of an image, and its classes."""

    plans: Sequence[JoinedMap]
    maps: Sequence[NDArray[np.float32]]
    explained: list[ClassScore]
    predicted: list[ClassScore]

    def score_of(self, plan: JoinedMap) -> ClassScore | None:
        """Return the class that a map explains; None for one of every class."""
        found = {score.index: score for score in self.explained}
        return None if plan.target is None else found[plan.target]


def _factor(height: int, width: int) -> int:
    """Return the power of 2 by which an image is reduced for its preview."""
    factor = 1
    while -(-max(height, width) // factor) > _PREVIEW:
        factor *= 2
    return factor


def _preview(source: Source) -> Pixels:
    """Read an image reduced to its preview."""
    factor = _factor(source.height, source.width)
    image = Reduced(source, factor)
    found = np.zeros((image.height, image.width, 3), np.uint8)
    side = max(1, _READ // factor)
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            height, width = min(side, image.height - top), min(side, image.width - left)
            part = image.block(top, left, height, width)
            found[top : top + height, left : left + width] = part
    return found


def _small(
    large: LargeMap, levels: Sequence[NDArray], size: tuple[int, int], values: str
) -> NDArray[np.float32]:
    """Take the map of a preview from the levels of the map's file."""
    if (large.height, large.width) == size:
        return large.part(0, 0, *size)
    level = next(np.array(level) for level in levels if level.shape == size)
    whole = 1 if values == "float16" else np.iinfo(level.dtype).max
    return level.astype(np.float32) / whole
