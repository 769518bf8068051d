"""Explanation of any number of image files, a batch at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, ListConfig, OmegaConf

from learned_saliency.datamodules import Decoding, Size, pixel_count, read_image
from learned_saliency.pipeline.cli import (
    UserError,
    check_values,
    first_sentence,
    printable,
    values,
)
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
from learned_saliency.pipeline.prediction.regions import coverage_record
from learned_saliency.pipeline.prediction.running import Explanation, most_pixels, run_work
from learned_saliency.pipeline.prediction.shards import explain_shards, weights_digest
from learned_saliency.pipeline.prediction.sharing import own_share
from learned_saliency.pipeline.prediction.sources import (
    Found,
    draw_files,
    find_files,
    find_shard_files,
)
from learned_saliency.pipeline.prediction.tiles import Tiling, check_tiling, first_square
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

__all__ = ["CONFIG_NAME", "PredictionResult", "predict"]


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
    if config.packing == "shards":
        return _predict_shards(config, style, say)
    trainer = _trainer(config)
    model = build_model(config, device=trainer.strategy.root_device)
    tiling = None if config.tile is None else Tiling.of(model, config)
    files = _files(config, model.decoding)
    files = with_stems(files, _of_first(say)) if formats else files
    request = model.request(_classes(config), config.top_k)
    explanation = Explanation(config, model, request, style, say)
    files = _compared(model, files, config, _of_first(say))
    first = rank_zero_only.rank == 0
    folder = open_folder(config, model.input) if first else Path(config.out).expanduser()
    labels = Labels(formats, model.class_names, folder, model.box_threshold)
    if tiling is None:
        work = explanation.work(trainer, files, folder, labels)
    else:
        _of_first(say)(f"predict: {tiling.layout}")
        work = tiling.work(files, trainer, folder, style, request, most_pixels(config), say)
    try:
        run_work(work, trainer, folder, config)
        written = labels.join() if first else []
        header = _header(config, model, tiling)
        images, skipped = put_together(folder, header) if first else (0, 0)
    except BaseException as error:
        remove_parts(folder)
        if isinstance(error, OSError):
            raise UserError(f"out={folder}: {error.strerror or error}.") from None
        raise
    if first and not images:
        raise _nothing_read(folder, skipped)
    return PredictionResult(folder, images, skipped, [folder / INDEX, *written])


def _predict_shards(
    config: DictConfig, style: Style, say: Callable[[str], None]
) -> PredictionResult:
    """Explain the images of shards, each shard's into one of its own; see `explain_shards`."""
    folder = Path(config.out).expanduser()
    shards = find_shard_files(values(config.images), folder, config.sample_image, config.keep_gb)
    shards = own_share(shards, config.part)
    trainer = _trainer(config)
    if trainer.world_size > 1:
        raise UserError(
            "packing=shards: shards are shared among calls, not among the processes of one; leave "
            "trainer=ddp out and start several with part=1/4, part=2/4, ... or part=claim."
        )
    model = build_model(config, device=trainer.strategy.root_device)
    request = model.request(_classes(config), config.top_k)
    explanation = Explanation(config, model, request, style, say)
    compare = partial(_compared_once, model, config, say)
    found = PredictionResult(
        folder, *explain_shards(explanation, shards, trainer, _asked(explanation), compare)
    )
    if found.skipped and not found.images:
        raise UserError(
            f"none of {found.skipped} images of these shards can be read; the .json members of the "
            f"shards in {folder} have the reasons."
        )
    return found


def _compared_once(
    model: SaliencyPredictor, config: DictConfig, say: Callable[[str], None], files: Iterable[Found]
) -> Iterable[Found]:
    return files if model.effect is not None else _compared(model, files, config, say)


def _asked(explanation: Explanation) -> dict[str, Any]:
    """Tell what maps depend on: the network's numbers, methods and options, and what is written."""
    config, model = explanation.config, explanation.model
    header = _header(config, model, None)
    named = [name for name in model.methods if name in config.attribution]
    return {
        **{key: value for key, value in header.items() if key != "explaining"},
        "explaining": dict(model.explaining.words),
        "network": weights_digest(model.module),
        "classes": _classes(config),
        "top_k": config.top_k,
        "input": model.input,
        **model.decoding._asdict(),
        "sample_image": config.sample_image,
        "options": OmegaConf.to_container(
            OmegaConf.masked_copy(config.attribution, named), resolve=False
        ),
        "crf": OmegaConf.to_container(config.crf) if config.refine else None,
        "style": explanation.style._asdict(),
        "max_megapixels": config.max_megapixels,
    }


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
    if config.packing == "shards" and (config.labels is not None or config.limit is not None):
        key = "labels" if config.labels is not None else "limit"
        raise UserError(f"{key}={config[key]}: is for packing=files; leave one of them out.")
    if config.packing == "files" and config.part is not None:
        raise UserError(f"part={config.part}: shares shards among calls; give packing=shards.")
    if config.tile is not None:
        if config.packing == "shards":
            raise UserError(f"tile={config.tile}: is for packing=files; leave one of them out.")
        check_tiling(config)
    if config.labels is not None and has_function(config):
        raise UserError(
            f"labels={config.labels}: name classes, but target={config.target} gives scores of its "
            "own; leave one of them out."
        )


def _files(config: DictConfig, decoding: Decoding) -> Iterable[Found]:
    """Find the files, or draw those of a quick look."""
    ending = config.sample_image
    files = find_files(values(config.images), Path(config.out).expanduser(), ending, config.keep_gb)
    if config.limit is None:
        return files
    most = most_pixels(config)
    return draw_files(files, config.limit, partial(_is_image, max_pixels=most, decoding=decoding))


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
    if config.tile is not None:
        first = list(files)
        square = first_square(model, first, most_pixels(config))
        if square is not None:
            say(f"predict.py: {model.explaining}: {model.compare([square]).line()}")
        return first
    while len(taken) < model.batch_size and (found := next(files, None)) is not None:
        first.append(found)
        with suppress(ImageError):
            taken.append(read_image(found.path, most_pixels(config), model.decoding))
    if taken:
        effect = model.compare([model.prepare(pixels) for pixels in taken])
        say(f"predict.py: {model.explaining}: {effect.line()}")
    return chain(first, files)


def _is_image(path: Path, max_pixels: int, decoding: Decoding) -> bool:
    """Tell by its header whether a file is an image that is not skipped."""
    try:
        return pixel_count(path, max_pixels, decoding) > 0
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


def _classes(config: DictConfig) -> Any:
    given = config.classes
    return list(given) if isinstance(given, ListConfig) else given


def _header(config: DictConfig, model: SaliencyPredictor, tiling: Tiling | None) -> dict[str, Any]:
    return {
        **subject_record(config),
        "methods": model.methods,
        **target_record(config, model.module.methods),
        "box_threshold": round(model.box_threshold, 6),
        **({"class_threshold": model.class_threshold} if model.multilabel else {}),
        "input_size": list(Size.of(model.size)),
        **({} if tiling is None else {"tile": tiling.record}),
        **({} if model.coverage is None else {"coverage": coverage_record(model.coverage)}),
        "refine": config.refine,
        **explaining_record(model.explaining, model.effect),
        **({} if config.limit is None else {"limit": config.limit}),
    }
