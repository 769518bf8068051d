"""The work of ``predict.py tile=...`` as a trainer runs it: an image after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.datamodules import COLORS, ImageError, Size
from learned_saliency.pipeline.cli import UserError, values
from learned_saliency.pipeline.prediction.index import Part
from learned_saliency.pipeline.prediction.outcomes import Request
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.pipeline.prediction.sources import Found
from learned_saliency.pipeline.prediction.tiles.image import LargeImages, TileOptions
from learned_saliency.pipeline.prediction.tiles.layout import Layout, choose_layout
from learned_saliency.pipeline.prediction.tiles.network import TileNetwork
from learned_saliency.pipeline.prediction.tiles.sources import open_source
from learned_saliency.pipeline.prediction.work import Work
from learned_saliency.pipeline.prediction.writing import Style

_SECONDS = 10.0  # between lines of progress
_REFUSED = {
    "labels": "annotation files hold masks of whole images; predictions.json has the boxes",
    "coverage": "it is promised for images that are resized to the network's input",
    "refine": "it looks at the image as a whole",
    "arrays": "the map is written as FILE.METHOD.map.tif; tile_values=float16 keeps its values",
}


def check_tiling(config: DictConfig) -> None:
    """Check before any work that large images can be explained as the user asks.

    Raises:
        UserError: If an option does not go with tiles, or tifffile is missing.
    """
    for key, reason in _REFUSED.items():
        if config[key]:
            given = ",".join(map(str, values(config[key])))
            raise UserError(f"{key}={given}: not with tile={config.tile}: {reason}.")
    try:
        import tifffile  # noqa: F401
    except ImportError:
        raise UserError(
            f"tile={config.tile}: needs the package tifffile; pip install "
            "'learned-saliency[large]'."
        ) from None


def check_input(model: SaliencyPredictor, config: DictConfig) -> None:
    """Check that a model takes what is read in tiles: squares of colors.

    Raises:
        UserError: If it takes images of another shape or of other channels.
    """
    size, channels = Size.of(model.size), len(model.mean)
    if size.height != size.width:
        raise UserError(
            f"tile={config.tile}: tiles are squares, and the model's input has {size.height} x "
            f"{size.width} pixels; train one with a square data.crop_size."
        )
    if channels != COLORS:
        raise UserError(
            f"tile={config.tile}: colors are read in tiles, and the model takes {channels} "
            "channels; leave tile out."
        )


class Numbered(NamedTuple):
    """File ``number`` of all that were found."""

    number: int
    found: Found


class TileJob(L.LightningModule):
    """Explains an image in its ``predict_step``.

    Args:
        images: What explains images and writes their files.
    """

    def __init__(self, images: LargeImages) -> None:
        super().__init__()
        self.module = images.network.module
        self._images = images

    def predict_step(self, batch: Numbered, batch_idx: int) -> dict[str, Any] | ImageError:
        """Return the record of an image, or why it is skipped."""
        try:
            return self._images.explain(batch.found)
        except ImageError as error:
            return error


class TileRecords(L.Callback):
    """Writes the records of one process, and lines of progress.

    Args:
        folder: The folder ``out``.
        say: Gets a line for each file that is skipped, and lines of progress.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.part: Part | None = None
        self._last = self._began = time.monotonic()

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Begin this process's part of the index; the processes met after the folder was made."""
        self.part = Part(self.folder, trainer.global_rank)

    def on_predict_batch_start(
        self, trainer: L.Trainer, module: TileJob, batch: Numbered, *numbers: int
    ) -> None:
        """Start the clock of an image."""
        self._last = self._began = time.monotonic()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        module: TileJob,
        outputs: dict[str, Any] | ImageError,
        batch: Numbered,
        *numbers: int,
    ) -> None:
        """Write the record of an image."""
        if isinstance(outputs, ImageError):
            self.part.skip(batch.number, batch.found.name, str(outputs))
            self.say(f"skipped {batch.found.path}: {outputs}")
            return
        self.part.add(batch.number, outputs)
        megapixels = outputs["width"] * outputs["height"] / 1e6
        spent = time.monotonic() - self._began
        self.say(
            f"predict: {batch.found.name}: {megapixels:.3g} megapixels in {outputs['tiles']} tiles "
            f"and {spent:.1f} s, {megapixels / spent:.2g} a second"
        )

    def tell(self, name: str, done: int, count: int) -> None:
        """Say how far an image is."""
        now = time.monotonic()
        if now - self._last >= _SECONDS:
            self._last = now
            self.say(f"predict: {name}: {done} of {count} tiles, {now - self._began:.0f} s spent")

    def close(self) -> None:
        """Close the part."""
        if self.part is not None:
            self.part.close()


class TileFiles:
    """This process's share of the files, one at a time.

    Args:
        files: The files, the same on all processes.
        trainer: Trainer, which knows the processes.
        records: Tells whether no process has failed yet.
    """

    def __init__(self, files: Iterable[Found], trainer: L.Trainer, records: TileRecords) -> None:
        self._files = files
        self._trainer = trainer
        self._records = records

    def __iter__(self) -> Iterator[Numbered]:
        """Yield file number i to process i modulo the number of processes."""
        for number, found in enumerate(self._files):
            if not self._records.part.is_there():
                return
            if number % self._trainer.world_size == self._trainer.global_rank:
                yield Numbered(number, found)


class Tiling(NamedTuple):
    """Explanation of large images by a model.

    Attributes:
        network: The network.
        layout: How images are laid out in tiles.
        options: Options of large images.
    """

    network: TileNetwork
    layout: Layout
    options: TileOptions

    @classmethod
    def of(cls, model: SaliencyPredictor, config: DictConfig) -> Tiling:
        """Find the layout for a model.

        Raises:
            UserError: If a method cannot explain images in tiles, or the tiles do not suit it.
        """
        check_input(model, config)
        network = TileNetwork(model)
        return cls(network, choose_layout(network, config), TileOptions.of(config))

    @property
    def record(self) -> dict[str, Any]:
        """The layout, ready for JSON."""
        lattice = self.layout.lattice
        return {
            "side": lattice.side,
            "overlap": lattice.overlap,
            "reach": self.layout.reach,
            "reduce": self.options.reduce,
        }

    def work(
        self,
        files: Iterable[Found],
        trainer: L.Trainer,
        folder: Path,
        style: Style,
        request: Request,
        max_pixels: int,
        say: Callable[[str], None],
    ) -> Work:
        """Make what the trainer runs; ``max_pixels`` is of images that are decoded as a whole."""
        records = TileRecords(folder, say)
        images = LargeImages(
            self.network,
            self.layout,
            folder=folder,
            style=style,
            options=self.options,
            request=request,
            max_pixels=max_pixels,
            tell=records.tell,
        )
        return Work(TileJob(images), TileFiles(files, trainer, records), records, records.close)


def first_square(
    model: SaliencyPredictor, files: Iterable[Found], max_pixels: int
) -> Tensor | None:
    """Read the middle of the first image that can be read, uint8 (3, S, S); None without any."""
    for found in files:
        try:
            with open_source(found.path, max_pixels, model.decoding) as source:
                height, width = min(model.size, source.height), min(model.size, source.width)
                top, left = (source.height - height) // 2, (source.width - width) // 2
                return model.prepare(source.block(top, left, height, width))
        except ImageError:
            continue
    return None
