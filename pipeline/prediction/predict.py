"""Explains any number of image files, a batch at a time."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.images import ImageError, Pixels, pixel_count, read_pixels
from learned_saliency.pipeline.prediction.loading import CONFIG_NAME, build_model
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor, SmallMaps
from learned_saliency.pipeline.prediction.sources import Found, find_files
from learned_saliency.pipeline.prediction.writing import (
    INDEX,
    Index,
    Style,
    open_folder,
    score_record,
    write_map,
)

__all__ = ["CONFIG_NAME", "Predicted", "hydra_words", "predict"]

_PATHS = ("checkpoint", "classifier", "weights", "class_names", "images", "out", "classes")
_PIXELS = 64_000_000  # in a batch, and as many being drawn: 1 to 2 GB
_MOST_WORKERS = 16
_LONGEST_NAME = 255  # bytes, on all usual file systems
_DIGITS = "00000"  # of a class
_SECONDS = 20.0  # between lines of progress


class Predicted(NamedTuple):
    """What a call of predict.py leaves.

    Attributes:
        folder: Where it was written.
        images: How many images were explained.
        skipped: How many files were not.
        written: The index, which names all other files.
    """

    folder: Path
    images: int
    skipped: int
    written: list[Path]


def hydra_words(arguments: Sequence[str]) -> list[str]:
    """Write the words of predict.py's command line as Hydra wants them.

    Paths and names are quoted, so that spaces, commas, brackets, ``=`` and ``*`` in them mean
    nothing to Hydra; lists ``[a,b]`` and what is quoted already stay as they are.
    """
    words = []
    for word in arguments:
        key, equals, value = word.partition("=")
        if equals and key in _PATHS:
            word = f"{key}={_quoted(value)}"
        words.append(word)
    return words


def _quoted(value: str) -> str:
    plain = value in ("", "null") or value.isdecimal()
    if plain or (value[0] + value[-1] in ("[]", "''", '""') and not Path(value).exists()):
        return value
    literal = value.replace("${", "\\${")
    literal = re.sub(r"(\\*)'", r"\1\1\\'", literal)  # backslashes before a quote count double
    literal = re.sub(r"(\\+)$", r"\1\1", literal)
    return f"'{literal}'"


def predict(
    config: DictConfig, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
) -> Predicted:
    """Explain the images that a configuration names.

    Args:
        config: See ``configs/predict.yaml``.
        say: Gets a line for each file that is skipped, and lines of progress.

    Raises:
        UserError: If the configuration, the checkpoint or ``out`` is wrong, or no file is an image.
    """
    for key in ("images", "out"):
        if config[key] is None:
            raise UserError(f"{key} has no value: give it as {key}=...")
    workers, megapixels = config.workers, config.max_megapixels
    if workers is not None and not (isinstance(workers, int) and workers > 0):
        raise UserError(f"workers={workers}: it must be a number of threads above 0.")
    if not (isinstance(megapixels, int | float) and megapixels > 0):
        raise UserError(f"max_megapixels={megapixels}: it must be a number above 0.")
    style = Style.of(config)
    files = find_files(_sources(config), Path(config.out).expanduser())
    model = build_model(config)
    targets = model.targets(_classes(config), config.top_k)
    folder = open_folder(config)
    try:
        with Index(folder, _header(config, model)) as index:
            _Work(model, folder, style, index, say).run(files, targets, config)
    except torch.OutOfMemoryError:
        raise UserError(
            f"batch_size={config.batch_size}: the device's memory is too small; give less."
        ) from None
    except OSError as error:
        raise UserError(f"out={folder}: {error.strerror or error}.") from None
    if not index.images:
        raise UserError(
            f"none of {index.skipped} files is an image that can be read; {folder / INDEX} has the "
            "reasons."
            if index.skipped
            else "images: there are no files."
        )
    return Predicted(folder, index.images, index.skipped, [folder / INDEX])


def _sources(config: DictConfig) -> list[str]:
    given = config.images
    return [str(source) for source in (given if isinstance(given, ListConfig) else [given])]


def _classes(config: DictConfig) -> Any:
    given = config.classes
    return list(given) if isinstance(given, ListConfig) else given


def _header(config: DictConfig, model: SaliencyPredictor) -> dict[str, Any]:
    source = {key: config[key] for key in ("checkpoint", "classifier", "weights", "layer")}
    return {
        **{key: str(value) for key, value in source.items() if value is not None},
        "methods": model.methods,
        "box_threshold": round(model.box_threshold, 6),
        "input_size": [model.size, model.size],
        "refine": config.refine,
    }


class _Read(NamedTuple):
    """An image on its way: its pixels (H, W, 3) and the network's square (3, S, S)."""

    found: Found
    pixels: Pixels
    square: Tensor


class _Work:
    """Reads, explains and draws; threads read and draw while the network runs.

    Memory is bounded by a batch that is read, one that is explained, and as many pixels again that
    are drawn, whatever the number of images.
    """

    def __init__(
        self,
        model: SaliencyPredictor,
        folder: Path,
        style: Style,
        index: Index,
        say: Callable[[str], None],
    ) -> None:
        self.model = model
        self.folder = folder
        self.style = style
        self.index = index
        self.say = say
        self._drawing: deque[tuple[int, Future[dict[str, Any]]]] = deque()
        self._began = self._last = time.monotonic()

    def run(self, files: Iterator[Found], targets: list[int] | None, config: DictConfig) -> None:
        """Explain all files; those that are no images are skipped."""
        max_pixels = round(config.max_megapixels * 1e6)
        cores = min(_MOST_WORKERS, os.cpu_count() or 1)
        pool = ThreadPoolExecutor(config.workers or cores)
        try:
            batches = self._batches(pool, files, config.batch_size, max_pixels)
            following = next(batches, None)
            while following is not None:
                batch, following = self._received(following), next(batches, None)
                if batch:
                    self._explain(pool, batch, targets, config.top_k)
                self._tell()
            self._finish(0)
        finally:
            pool.shutdown(cancel_futures=True)

    def _batches(
        self, pool: ThreadPoolExecutor, files: Iterator[Found], batch_size: int, max_pixels: int
    ) -> Iterator[list[tuple[Found, Future[_Read]]]]:
        """Batches of files that are being read."""
        batch: list[tuple[Found, Future[_Read]]] = []
        pixels = 0
        for found in files:
            try:
                self._check_name(found)
                count = pixel_count(found.path, max_pixels)
            except ImageError as error:
                self._skip(found, error)
                continue
            if batch and pixels + count > _PIXELS:
                yield batch
                batch, pixels = [], 0
            batch.append((found, pool.submit(self._read, found, max_pixels)))
            pixels += count
            if len(batch) == batch_size:
                yield batch
                batch, pixels = [], 0
        if batch:
            yield batch

    def _check_name(self, found: Found) -> None:
        """Refuse a name before some of its files are written and others cannot be."""
        longest = max(len(f".{method}-{_DIGITS}.map.png.tmp") for method in self.model.methods)
        if len(os.fsencode(Path(found.name).name)) + longest > _LONGEST_NAME:
            raise ImageError("its name is too long to add the method's to it")

    def _read(self, found: Found, max_pixels: int) -> _Read:
        pixels = read_pixels(found.path, max_pixels)
        return _Read(found, pixels, self.model.prepare(pixels))

    def _received(self, batch: list[tuple[Found, Future[_Read]]]) -> list[_Read]:
        received = []
        for found, future in batch:
            try:
                received.append(future.result())
            except ImageError as error:
                self._skip(found, error)
        return received

    def _explain(
        self,
        pool: ThreadPoolExecutor,
        batch: list[_Read],
        targets: list[int] | None,
        top_k: int,
    ) -> None:
        explained = self.model.explain([read.square for read in batch], targets, top_k)
        asked = top_k if targets is None else len(targets)
        for read, small in zip(batch, explained, strict=True):
            pixels = read.pixels.shape[0] * read.pixels.shape[1]
            self._finish(max(0, _PIXELS - pixels))
            future = pool.submit(self._draw, read, small, asked)
            self._drawing.append((pixels, future))

    def _draw(self, read: _Read, small: SmallMaps, asked: int) -> dict[str, Any]:
        """Write the files of an image and give its record."""
        height, width = read.pixels.shape[:2]
        maps = []
        threshold = self.model.box_threshold
        for placed in self.model.placed(read.pixels, small):
            stem = f"{read.found.name}.{placed.method}"
            if asked > 1 and placed.explained is not None:
                stem += f"-{placed.explained.index}"
            maps.append(write_map(self.folder, stem, read.pixels, placed, self.style, threshold))
        return {
            "image": read.found.name,
            "width": width,
            "height": height,
            "predicted": [score_record(score) for score in small.predicted],
            "maps": maps,
        }

    def _finish(self, most: int) -> None:
        """Take in what was drawn, in order, until no more than ``most`` pixels are under way."""
        waiting = sum(pixels for pixels, _ in self._drawing)
        while self._drawing and (waiting > most or self._drawing[0][1].done()):
            pixels, future = self._drawing.popleft()
            waiting -= pixels
            self.index.add(future.result())

    def _skip(self, found: Found, error: ImageError) -> None:
        self.index.skip(found.name, str(error))
        self.say(f"skipped {found.path}: {error}")

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS:
            return
        self._last = now
        done = self.index.images
        self.say(
            f"predict: {done} images done, {self.index.skipped} files skipped, "
            f"{done / (now - self._began):.1f} images a second"
        )
