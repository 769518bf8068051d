"""Explanation of any number of image files, a batch at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig

from learned_saliency.datamodules import pixel_count, read_pixels
from learned_saliency.pipeline.cli import (
    UserError,
    check_values,
    first_sentence,
    printable,
    values,
)
from learned_saliency.pipeline.prediction.drawing import Drawing
from learned_saliency.pipeline.prediction.images import ImageError
from learned_saliency.pipeline.prediction.index import (
    INDEX,
    open_folder,
    put_together,
    remove_parts,
)
from learned_saliency.pipeline.prediction.labelling import Labels, label_formats, with_stems
from learned_saliency.pipeline.prediction.loading import CONFIG_NAME, build_model
from learned_saliency.pipeline.prediction.predictor import SaliencyPredictor
from learned_saliency.pipeline.prediction.reading import ImageBatches
from learned_saliency.pipeline.prediction.regions import coverage_record
from learned_saliency.pipeline.prediction.sources import Found, draw_files, find_files
from learned_saliency.pipeline.prediction.writing import Style
from learned_saliency.pipeline.runs import (
    build_trainer,
    check_hardware,
    explaining_record,
    has_function,
    subject_record,
    target_record,
    with_precision,
)
from learned_saliency.trainers import KeepSignals, meet

__all__ = ["CONFIG_NAME", "PredictionResult", "predict"]

# In a batch, of which three are in memory, and as many being drawn: 1 to 2 GB for each process.
_PIXELS = 48_000_000
_MOST_WORKERS = 16


class PredictionResult(NamedTuple):
    """Result of a call of predict.py; with several processes the first knows the numbers.

    Attributes:
        folder: Folder of the written files.
        images: Number of explained images.
        skipped: Number of skipped files.
        written: The index, which names all other files, and the folders of annotations.
    """

    folder: Path
    images: int
    skipped: int
    written: list[Path]


def predict(
    config: DictConfig,
    say: Callable[[str], None] = lambda line: print(printable(line), file=sys.stderr),
) -> PredictionResult:
    """Explain the images that a configuration names.

    Args:
        config: See ``configs/predict.yaml``.
        say: Called with a line for each skipped file, and with lines of progress.

    Raises:
        UserError: If the configuration, the checkpoint or ``out`` is wrong, or no file is an image.
    """
    _check(config)
    style, formats = Style.of(config), label_formats(config)
    config = with_precision(config)
    files = with_stems(_files(config), _of_first(say)) if formats else _files(config)
    trainer = _trainer(config)
    model = build_model(config, device=trainer.strategy.root_device)
    files = _compared(model, files, config, _of_first(say))
    request = model.request(_classes(config), config.top_k)
    first = rank_zero_only.rank == 0
    folder = open_folder(config, model.input) if first else Path(config.out).expanduser()
    cores = min(_MOST_WORKERS, max(1, (os.cpu_count() or 1) // trainer.num_devices))
    bounds = {"pool": ThreadPoolExecutor(config.workers or cores), "most_pixels": _PIXELS}
    labels = Labels(formats, model.class_names, folder, model.box_threshold)
    drawn = {"labels": labels, "several": request.several, "say": say}
    drawing = Drawing(model, folder, style, **drawn, **bounds)
    batches = ImageBatches(
        files,
        model,
        request,
        trainer=trainer,
        skip=drawing.skip,
        goes_on=drawing.goes_on,
        max_pixels=_most_pixels(config),
        **bounds,
    )
    try:
        _run(trainer, batches, drawing, config)
        written = labels.join() if first else []
        images, skipped = put_together(folder, _header(config, model)) if first else (0, 0)
    except BaseException as error:
        remove_parts(folder)
        if isinstance(error, OSError):
            raise UserError(f"out={folder}: {error.strerror or error}.") from None
        raise
    if first and not images:
        raise _nothing_read(folder, skipped)
    return PredictionResult(folder, images, skipped, [folder / INDEX, *written])


def _of_first(say: Callable[[str], None]) -> Callable[[str], None]:
    """Let the first process alone say what all of them find."""
    return lambda line: say(line) if rank_zero_only.rank == 0 else None


def _nothing_read(folder: Path, skipped: int) -> UserError:
    if not skipped:
        return UserError("images: there are no files.")
    reasons = f"{folder / INDEX} has the reasons"
    return UserError(f"none of {skipped} files is an image that can be read; {reasons}.")


def _check(config: DictConfig) -> None:
    check_values(config)
    for key in ("images", "out"):
        if config[key] is None:
            raise UserError(f"{key} has no value: give it as {key}=...")
    if config.labels is not None and has_function(config):
        raise UserError(
            f"labels={config.labels}: name classes, but target={config.target} gives scores of its "
            "own; leave one of them out."
        )


def _files(config: DictConfig) -> Iterable[Found]:
    """Find the files, or draw those of a quick look."""
    files = find_files(values(config.images), Path(config.out).expanduser())
    if config.limit is None:
        return files
    return draw_files(files, config.limit, partial(_is_image, max_pixels=_most_pixels(config)))


def _compared(
    model: SaliencyPredictor, files: Iterable[Found], config: DictConfig, say: Callable[[str], None]
) -> Iterable[Found]:
    """Apply the options of explaining, and say how they change the maps of the first images."""
    if not model.explaining.words:
        return files
    if (warning := model.explaining.warning(model.device)) is not None:
        say(f"predict.py: {warning}")
    files = iter(files)
    first, taken = [], []
    while len(taken) < model.batch_size and (found := next(files, None)) is not None:
        first.append(found)
        with suppress(ImageError):
            taken.append(read_pixels(found.path, _most_pixels(config), model.decoding))
    if taken:
        effect = model.compare([model.prepare(pixels) for pixels in taken])
        say(f"predict.py: {model.explaining}: {effect.line()}")
    return chain(first, files)


def _most_pixels(config: DictConfig) -> int:
    return round(config.max_megapixels * 1e6)


def _is_image(path: Path, max_pixels: int) -> bool:
    """Tell by its header whether a file is an image that is not skipped."""
    try:
        return pixel_count(path, max_pixels) > 0
    except ImageError:
        return False


def _trainer(config: DictConfig) -> L.Trainer:
    check_hardware(config.trainer)
    try:
        return build_trainer(
            config, logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {first_sentence(error).rstrip('!')}.") from None


def _run(trainer: L.Trainer, batches: ImageBatches, drawing: Drawing, config: DictConfig) -> None:
    """Explain and draw this process's share of the files, then wait for the other processes.

    Raises:
        UserError: If memory or disk are too small.
    """
    trainer.callbacks += [KeepSignals(), drawing]
    try:
        trainer.predict(batches.model.module, batches, return_predictions=False)
    except torch.OutOfMemoryError:
        raise UserError(
            f"batch_size={config.batch_size}: the device's memory is too small; give less."
        ) from None
    except OSError as error:
        raise UserError(f"out={drawing.folder}: {error.strerror or error}.") from None
    except SystemExit as ended:
        if ended.code == 1:  # what Lightning makes of it
            raise KeyboardInterrupt from None
        raise
    finally:
        batches.pool.shutdown(cancel_futures=True)
        drawing.close()
    meet()


def _classes(config: DictConfig) -> Any:
    given = config.classes
    return list(given) if isinstance(given, ListConfig) else given


def _header(config: DictConfig, model: SaliencyPredictor) -> dict[str, Any]:
    return {
        **subject_record(config),
        "methods": model.methods,
        **target_record(config, model.module.methods),
        "box_threshold": round(model.box_threshold, 6),
        **({"class_threshold": model.class_threshold} if model.multilabel else {}),
        "input_size": [model.size, model.size],
        **({} if model.coverage is None else {"coverage": coverage_record(model.coverage)}),
        "refine": config.refine,
        **explaining_record(model.explaining, model.effect),
        **({} if config.limit is None else {"limit": config.limit}),
    }
