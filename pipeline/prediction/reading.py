"""Batches of image files, read ahead by threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import NamedTuple

import lightning as L
from torch import Tensor

from learned_saliency.datamodules import ImageError, Pixels, pixel_count, read_image
from learned_saliency.pipeline.prediction.outcomes import Request
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.pipeline.prediction.sources import Found
from learned_saliency.trainers import PredictionBatch

_LONGEST_NAME = 255  # bytes, on all usual file systems
_DIGITS = "00000"  # stand for the number of a class


class ReadImage(NamedTuple):
    """An image that was read.

    Attributes:
        number: Number of the file among all files that were found.
        found: The file.
        pixels: What is shown of it, uint8 (H, W, 3).
    """

    number: int
    found: Found
    pixels: Pixels


class ImageBatch(PredictionBatch):
    """A batch for ``predict_step`` with the images that it was made from.

    Attributes:
        files: B images.
    """

    files: list[ReadImage]


class ImageBatches:
    """Batches of image files for ``trainer.predict``; files that are no images are skipped.

    With several processes each takes its share: file number i belongs to process i modulo the
    number of processes. While one batch is explained, Lightning holds the next batch and threads
    read the one after it: at most three times ``most_pixels`` are in memory, whatever the number of
    files.

    Args:
        files: The files, the same on all processes.
        model: Model that prepares the network's input.
        request: The classes to explain.
        trainer: Trainer, which knows the processes.
        pool: Threads that read.
        skip: Called with number, file and reason of each skipped file, in the order of the files.
        goes_on: Asked before each batch; once it returns False, no further batch comes.
        most_pixels: Most pixels of a batch of several images.
        max_pixels: Most pixels of an image; larger images are skipped.
    """

    def __init__(
        self,
        files: Iterable[Found],
        model: SaliencyPredictor,
        request: Request,
        *,
        trainer: L.Trainer,
        pool: Executor,
        skip: Callable[[int, Found, ImageError], None],
        goes_on: Callable[[], bool],
        most_pixels: int,
        max_pixels: int,
    ) -> None:
        self.files = files
        self.model = model
        self.request = request
        self.trainer = trainer
        self.pool = pool
        self.skip = skip
        self.goes_on = goes_on
        self.most_pixels = most_pixels
        self.max_pixels = max_pixels

    def __iter__(self) -> Iterator[ImageBatch]:
        """Yield this process's batches, in the order of the files."""
        pending = self._pending()
        following = next(pending, None)
        while following is not None and self.goes_on():
            batch, following = self._received(following), next(pending, None)
            if batch is not None:
                yield batch

    def _pending(self) -> Iterator[list[_Pending]]:
        """Yield batches of files that are being read, and of files that cannot be read."""
        batch: list[_Pending] = []
        images = pixels = 0
        for number, found in enumerate(self.files):
            if number % self.trainer.world_size != self.trainer.global_rank:
                continue
            try:
                self._check_name(found)
                count = pixel_count(found.path, self.max_pixels, self.model.decoding)
            except ImageError as error:
                batch.append(_Pending(number, found, error))
                continue
            if images and (images == self.model.batch_size or pixels + count > self.most_pixels):
                yield batch
                batch, images, pixels = [], 0, 0
            batch.append(_Pending(number, found, self.pool.submit(self._read, found)))
            images, pixels = images + 1, pixels + count
        if batch:
            yield batch

    def _check_name(self, found: Found) -> None:
        """Refuse a name under which not all of the image's files can be written."""
        longest = max(len(f".{method}-{_DIGITS}.region.png.tmp") for method in self.model.methods)
        if len(os.fsencode(Path(found.name).name)) + longest > _LONGEST_NAME:
            raise ImageError("its name is too long to add the method's to it")

    def _read(self, found: Found) -> tuple[Pixels, Tensor]:
        pixels = read_image(found.path, self.max_pixels, self.model.decoding)
        return self.model.shown(pixels), self.model.prepare(pixels)

    def _received(self, pending: list[_Pending]) -> ImageBatch | None:
        """Return the images of a batch that can be read; None if there are none."""
        files, prepared = [], []
        for number, found, reading in pending:
            try:
                if isinstance(reading, ImageError):
                    raise reading
                pixels, image = reading.result()
            except ImageError as error:
                self.skip(number, found, error)
                continue
            files.append(ReadImage(number, found, pixels))
            prepared.append(image)
        if not files:
            return None
        batch = self.model.batch(prepared, [read.found.name for read in files], self.request)
        return ImageBatch(**batch, files=files)


class _Pending(NamedTuple):
    """File ``number``, which is being read or cannot be read."""

    number: int
    found: Found
    reading: Future[tuple[Pixels, Tensor]] | ImageError
