"""Explanation of image files by a trainer: the part that folders and shards have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.prediction.drawing import Drawing
from learned_saliency.pipeline.prediction.labelling import Labels
from learned_saliency.pipeline.prediction.outcomes import Request
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.pipeline.prediction.reading import ImageBatches
from learned_saliency.pipeline.prediction.sources import Found
from learned_saliency.pipeline.prediction.work import Work
from learned_saliency.pipeline.prediction.writing import Style
from learned_saliency.trainers import KeepSignals, meet

# In a batch, of which three are in memory, and as many being drawn: 1 to 2 GB for each process.
_PIXELS = 48_000_000
_MOST_WORKERS = 16


class Explanation(NamedTuple):
    """Request to explain images: by which model, which classes, and what is written.

    Attributes:
        config: See ``configs/predict.yaml``.
        model: The model.
        request: The classes to explain.
        style: What is written.
        say: Gets a line for each file that is skipped, and lines of progress.
    """

    config: DictConfig
    model: SaliencyPredictor
    request: Request
    style: Style
    say: Callable[[str], None]

    def work(
        self, trainer: L.Trainer, files: Iterable[Found], folder: Path, labels: Labels
    ) -> Work:
        """Prepare the work on images that are resized to the network's input.

        Args:
            trainer: Trainer, which knows the processes; its callbacks stay as they are.
            files: The files, the same on all processes.
            folder: Folder of the written files, which is there.
            labels: What annotation files are written.
        """
        cores = min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) // trainer.num_devices))
        pool = ThreadPoolExecutor(self.config.workers or cores)
        bounds = {"pool": pool, "most_pixels": _PIXELS}
        drawn = {"labels": labels, "several": self.request.several, "say": self.say}
        drawing = Drawing(self.model, folder, self.style, **drawn, **bounds)
        batches = ImageBatches(
            files,
            self.model,
            self.request,
            trainer=trainer,
            skip=drawing.skip,
            goes_on=drawing.goes_on,
            max_pixels=most_pixels(self.config),
            **bounds,
        )

        def close() -> None:
            pool.shutdown(cancel_futures=True)
            drawing.close()

        return Work(self.model.module, batches, drawing, close)


def run_work(work: Work, trainer: L.Trainer, folder: Path, config: DictConfig) -> None:
    """Explain and draw this process's share of files, then wait for the other processes.

    Args:
        work: What is run.
        trainer: The trainer that it was prepared for.
        folder: Folder of the written files.
        config: See ``configs/predict.yaml``.

    Raises:
        UserError: If memory or disk are too small.
    """
    callbacks = [*trainer.callbacks]
    trainer.callbacks += [KeepSignals(), work.writer]
    try:
        trainer.predict(work.module, work.batches, return_predictions=False)
    except torch.OutOfMemoryError:
        raise UserError(
            f"batch_size={config.batch_size}: the device's memory is too small; give less."
        ) from None
    except OSError as error:
        raise UserError(f"out={folder}: {error.strerror or error}.") from None
    except SystemExit as ended:
        if ended.code == 1:  # what Lightning makes of it
            raise KeyboardInterrupt from None
        raise
    finally:
        work.close()
        trainer.callbacks = callbacks
    meet()


def most_pixels(config: DictConfig) -> int:
    """Return how many pixels an image may have."""
    return round(config.max_megapixels * 1e6)
