"""Draws and writes what the network finds, in threads, while it runs on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from learned_saliency.pipeline.prediction.images import ImageError
from learned_saliency.pipeline.prediction.index import Part
from learned_saliency.pipeline.prediction.labelling import Labels, kind_of
from learned_saliency.pipeline.prediction.outcomes import SmallMaps
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.pipeline.prediction.reading import ImageBatch, ReadImage
from learned_saliency.pipeline.prediction.sources import Found
from learned_saliency.pipeline.prediction.writing import Style, score_record, write_map
from learned_saliency.trainers import Prediction, listen

_SECONDS = 10.0  # between lines of progress


class Drawing(L.Callback):
    """Writes the files and records of the images of one process.

    Args:
        model: Places the maps in their images.
        folder: The folder ``out``, which is there when Lightning sets up.
        style: What is written.
        labels: What annotation files are written.
        several: Whether several classes are explained, so that names of files need the class.
        pool: Threads that draw.
        most_pixels: How many are drawn at once, of several images.
        say: Gets a line for each file that is skipped, and lines of progress.
    """

    def __init__(
        self,
        model: SaliencyPredictor,
        folder: Path,
        style: Style,
        *,
        labels: Labels,
        several: bool,
        pool: Executor,
        most_pixels: int,
        say: Callable[[str], None],
    ) -> None:
        self.model = model
        self.folder = folder
        self.style = style
        self.labels = labels
        self.several = several
        self.pool = pool
        self.most_pixels = most_pixels
        self.say = say
        self.part: Part | None = None
        self._under_way: deque[_UnderWay] = deque()
        self._began = self._last = time.monotonic()
        self._explained = ""

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        """Begin this process's part of the index; the processes met after the folder was made."""
        self.part = Part(self.folder, trainer.global_rank)

    def skip(self, number: int, found: Found, error: ImageError) -> None:
        """Note a file that is skipped."""
        self.part.skip(number, found.name, str(error))
        self.say(f"skipped {found.path}: {error}")

    def goes_on(self) -> bool:
        """Return whether no process has failed yet."""
        return self.part.is_there()

    def on_predict_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Listen to long methods, and start the clock."""
        self._began = self._last = time.monotonic()
        if trainer.is_global_zero:
            listen(module, self._hear)

    def on_predict_batch_start(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        batch: ImageBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note which images are explained."""
        first, *others = batch["files"]
        self._explained = first.found.name + (f" and {len(others)} more" if others else "")

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: Prediction,
        batch: ImageBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand the images of a batch to the threads."""
        for read, small in zip(batch["files"], self.model.separate(outputs), strict=True):
            pixels = read.pixels.shape[0] * read.pixels.shape[1]
            self._take_in(max(0, self.most_pixels - pixels))
            future = self.pool.submit(self._draw, read, small)
            self._under_way.append(_UnderWay(read.number, pixels, future))
        if trainer.is_global_zero:
            self._tell(trainer.world_size)

    def on_predict_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Wait for the last images."""
        listen(module, None)
        self._take_in(0)

    def close(self) -> None:
        """Close the part; images that are still under way are left out of it."""
        if self.part is not None:
            self.part.close()

    def _draw(self, read: ReadImage, small: SmallMaps) -> _Drawn:
        """Write the files of an image and give its record and its annotations."""
        height, width = read.pixels.shape[:2]
        threshold, maps, objects = self.model.box_threshold, [], []
        for placed in self.model.placed(read.pixels, small):
            stem = f"{read.found.name}.{placed.method}"
            if self.several and placed.explained is not None:
                stem += f"-{placed.explained.index}"
            told = placed.explained if self.model.multilabel else None  # no class rules it out
            drawn = (stem, read.pixels, placed, self.style, threshold, told or small.predicted[0])
            maps.append(write_map(self.folder, *drawn))
            labelled = placed.method == self.model.methods[0] and not small.absent
            if self.labels.formats and labelled:
                objects += self.labels.find(placed, placed.explained or small.classes[0])
        kind = "scores" if small.predicted[0].is_score else "predicted"
        record = {
            "image": read.found.name,
            "width": width,
            "height": height,
            kind: [score_record(score) for score in small.predicted],
            "maps": maps,
        }
        return _Drawn(record, self.labels.write(read, objects))

    def _take_in(self, most: int) -> None:
        """Take in what was drawn, in order, until no more than ``most`` pixels are under way."""
        waiting = sum(drawn.pixels for drawn in self._under_way)
        while self._under_way and (waiting > most or self._under_way[0].drawn.done()):
            number, pixels, future = self._under_way.popleft()
            waiting -= pixels
            drawn = future.result()
            self.part.add(number, drawn.record)
            for name, fragment in drawn.labels.items():
                self.part.note(number, kind_of(name), fragment)

    def _hear(self, what: str) -> None:
        """Say how far a batch is that takes long."""
        now = time.monotonic()
        if now - self._last >= _SECONDS:
            self._last = now
            self.say(f"predict: {self._explained}: {what}, {now - self._began:.0f} s spent")

    def _tell(self, processes: int) -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS:
            return
        self._last = now
        done = self.part.images
        where = "" if processes == 1 else f", in the first of {processes} processes"
        self.say(
            f"predict: {done} images done, {self.part.skipped} files skipped, "
            f"{done / (now - self._began):.1f} images a second{where}"
        )


class _Drawn(NamedTuple):
    """Record of an image, and what joined annotation files say of it by format."""

    record: dict[str, Any]
    labels: dict[str, Any]


class _UnderWay(NamedTuple):
    """File ``number`` of so many ``pixels``, which is ``drawn`` when all is written."""

    number: int
    pixels: int
    drawn: Future[_Drawn]
