"""Plan of a training, checked before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.models import MultiScaleClassifier
from learned_saliency.pipeline.cli import (
    UserError,
    check_complete,
    check_folder,
    check_values,
    find_resume_point,
    first_sentence,
    nearest,
    origin_of,
    values,
)
from learned_saliency.pipeline.runs import (
    CLASSIFIER,
    FIRST_STAGE,
    Checkpoint,
    build_data,
    build_evaluation,
    build_module,
    build_network,
    check_hardware,
    check_limits,
    create_folder,
    foreign_parts,
    load_network,
    located_data,
    read_checkpoint,
    read_record,
    run_record,
    stage_config,
    with_class_names,
    without_pretraining,
)
from learned_saliency.trainers import MONITORS, NATIVE, SaliencyModule


class Plan(NamedTuple):
    """Checked parts of a training.

    Attributes:
        config: The configuration; its first stage describes a classifier if one was given.
        record: What `run_record` gives of the configuration, for `resumed_config`.
        stages: The remaining stages: `CLASSIFIER` and empty for the model itself, or one of them.
        data: The data module, set up.
        evaluation: Options of the last stage's module that set the methods and metrics of the test.
        resumed: Checkpoint of the first of ``stages`` to go on from.
        classifier: The trained network that ``classifier`` names.
        folder: The run's folder.
        goes_on: Whether the run has begun before.
    """

    config: DictConfig
    record: dict[str, Any]
    stages: list[str]
    data: WSOLDataModule
    evaluation: dict[str, Any]
    resumed: Checkpoint | None
    classifier: nn.Module | None
    folder: Path
    goes_on: bool


def make_plan(config: DictConfig, resumed: Checkpoint | None = None) -> Plan:
    """Check a configuration and the parts that it names; render or read the data set last.

    Args:
        config: The configuration.
        resumed: The checkpoint to go on from; None before the first one of a run.

    Raises:
        UserError: If a value, a combination of values, a checkpoint or the folder is wrong.
        DataError: If the data set is wrong.
    """
    check_values(config)
    check_complete(config)
    config = with_class_names(config)
    _check_parts(config)
    check_hardware(config.trainer)
    _check_precision(config.trainer)
    _check_clipping(config)
    if not config.resume:
        check_folder("output_dir", config.output_dir)
    if resumed is None:
        config = _with_widths_of_file(config)
    # a checkpoint holds the classifier that the run was begun with
    given = _given_classifier(config) if config.classifier and resumed is None else None
    classifier = load_network(given) if given else None
    if given is not None:
        _check_contract(config, given, classifier)
        config = _with_first_stage(config, given.model)
    record = run_record(config)  # Hydra's instantiate resolves references in place
    evaluation = build_evaluation(config)
    located = _located(config, resumed) if config.resume else config
    data = build_data(located, None if config.test else "fit")
    _check_splits(config, data)
    check_limits(config.trainer, data, {split: split for split in ("train", "val", "test")})
    for checkpoint in (resumed, given):
        if checkpoint is not None:
            _check_classes(checkpoint, data)
    _try_to_build(config, data.num_classes, evaluation)
    goes_on = bool(config.resume)
    folder = find_resume_point(config.resume).folder if goes_on else create_folder(config, record)
    stages = _stages(config, resumed)
    return Plan(config, record, stages, data, evaluation, resumed, classifier, folder, goes_on)


def _located(config: DictConfig, resumed: Checkpoint | None) -> DictConfig:
    """Return the data set of a run that goes on, at its place on this machine.

    What it is recorded with stays as it is: the run may be continued on another machine, too.

    Raises:
        UserError: See `located_data`.
    """
    if resumed is None:
        recorded = OmegaConf.create(read_record(find_resume_point(config.resume).folder)["config"])
    else:
        recorded = resumed.config
    data = OmegaConf.create(OmegaConf.to_container(config.data, resolve=True))
    saved = {key: recorded.data.get(key) for key in ("root", "metadata", "mask_root")}
    given = {key: data[key] for key, place in saved.items() if data[key] != place}
    own = OmegaConf.merge(data, saved)
    return OmegaConf.create({"data": located_data(own, OmegaConf.create(given), config.resume)})


def _with_widths_of_file(config: DictConfig) -> DictConfig:
    """Leave out the backbone's widths where the file of its weights has the network's own.

    ``backbone=resnet10`` is half as wide as timm's, whose files therefore choose the full width.

    Returns:
        ``config`` itself where the weights fit, or do not fit either.
    """
    wide = config.backbone.copy()
    OmegaConf.set_struct(wide, False)
    widths = {key: wide.pop(key) for key in ("channels", "stem_width") if key in wide}
    if not widths or not isinstance(wide.pretrained, str):
        return config
    with suppress(InstantiationException):
        instantiate(config.backbone)
        return config
    with suppress(InstantiationException):
        instantiate(wide)
        left_out = ", ".join(f"backbone.{key}={value}" for key, value in widths.items())
        warnings.warn(
            f"backbone.pretrained={wide.pretrained}: has the widths of {wide.name} in timm, which "
            f"count instead of {left_out}.",
            stacklevel=2,
        )
        config = config.copy()
        config.backbone = wide
    return config


def _stages(config: DictConfig, resumed: Checkpoint | None) -> list[str]:
    on_last = resumed is not None and not resumed.stage
    if FIRST_STAGE not in config.model or on_last or config.classifier:
        return [""]
    return [CLASSIFIER, ""]


def _check_parts(config: DictConfig) -> None:
    """Check that a checkpoint of the run could be read back."""
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    for key in ("output_dir", "data.root", "data.metadata", "data.mask_root"):
        if "${" in str(OmegaConf.select(resolved, key)):
            raise UserError(f"{key}: a checkpoint cannot hold a path with '${{'; choose another.")
    for key, target in foreign_parts(resolved):
        raise UserError(
            f"{key}={target}: is neither a part of this project nor an optimizer of torch, so that "
            "no checkpoint of the run could be read back; put it into the project's folders."
        )


def _check_precision(trainer: DictConfig) -> None:
    """Check that the precision is one that losses and validation are computed in."""
    if trainer.precision == "64-true":
        raise UserError(
            "trainer.precision=64-true: is for predict.py alone; train by 32-true or bf16-mixed."
        )


def _check_clipping(config: DictConfig) -> None:
    """Check that the trainer does not clip gradients of a model that steps by itself."""
    limit = config.trainer.get("gradient_clip_val")
    if limit is not None and "gradient_clip" in config.model.module:
        raise UserError(
            f"trainer.gradient_clip_val={limit}: model={config.model.name} clips by itself; "
            "set model.module.gradient_clip."
        )


def _key(stage: str) -> str:
    """Return the key of a stage's configuration."""
    return f"model.{FIRST_STAGE}" if stage else "model"


def _given_classifier(config: DictConfig) -> Checkpoint:
    """Read the checkpoint that ``classifier`` names; check that it has the configured backbone."""
    if FIRST_STAGE not in config.model:
        raise UserError(f"classifier=... is given, but model={config.model.name} is built on none.")
    if ":" in config.classifier and not Path(config.classifier).expanduser().exists():
        raise UserError(
            f"classifier={config.classifier}: model={config.model.name} reads feature maps of "
            "several scales, which only a run or checkpoint of this project gives; train one by "
            "model=cam backbone=timm backbone.name=... backbone.pretrained=true."
        )
    given = read_checkpoint(config.classifier, "best.ckpt")
    theirs, ours = ({**c.backbone, "pretrained": None} for c in (given.config, config))
    if theirs != ours:
        raise UserError(
            f"classifier={given.path}: its backbone is {given.config.backbone.name} with other "
            f"settings than the configured {config.backbone.name}: choose the same backbone=..."
        )
    return given


def _check_contract(config: DictConfig, given: Checkpoint, network: nn.Module) -> None:
    """Check that a network is a classifier on which other networks can be built."""
    if isinstance(network, MultiScaleClassifier):
        return
    own = given.run_folder / "checkpoints" / CLASSIFIER / "best.ckpt"
    remedy = f"; its own classifier is classifier={own}" if own.is_file() else ""
    raise UserError(
        f"classifier={given.path}: holds a '{given.model.name}' model, which is no classifier that "
        f"model={config.model.name} can be built on{remedy}."
    )


def _with_first_stage(config: DictConfig, model: DictConfig) -> DictConfig:
    """Copy the configuration with the given classifier, so that checkpoints can be read back."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config.model[FIRST_STAGE] = model
    return config


def _check_classes(checkpoint: Checkpoint, data: WSOLDataModule) -> None:
    if checkpoint.num_classes != data.num_classes:
        raise UserError(
            f"{checkpoint.path}: was trained on {checkpoint.num_classes} classes, but the data set "
            f"has {data.num_classes}."
        )


def _check_splits(config: DictConfig, data: WSOLDataModule) -> None:
    """Check that the splits are there, and that ``val`` has the labels to choose checkpoints by."""
    if config.test and not data.has_split("test"):
        raise UserError(
            f"{data.metadata}: has no folder `test`, by which the run is tested at its end; add "
            "it, or leave the test out by test=false."
        )
    _check_pictures(config)
    check_selection(config.model, data)


def _check_pictures(config: DictConfig) -> None:
    """Check that the methods in the pictures of every epoch exist."""
    known = [NATIVE, *config.attribution]
    for stage in [CLASSIFIER, ""] if FIRST_STAGE in config.model else [""]:
        for name in values(stage_config(config.model, stage).pictures):
            if name not in known:
                raise UserError(
                    f"{_key(stage)}.pictures: no method is named '{name}'{nearest(name, known)}; "
                    f"there are: {', '.join(known)}."
                )


def check_selection(model: DictConfig, data: WSOLDataModule) -> None:
    """Check that ``val`` has the supervision by which each stage's checkpoint is chosen.

    Raises:
        UserError: If a monitored metric does not exist, or needs boxes or masks that the split
            lacks; the message names every key that has to change.
    """
    there = {"labels"}
    there |= {"boxes"} if data.has_boxes("val") else set()
    there |= {"masks"} if data.has_masks("val") else set()
    wrong = {}
    for stage in [CLASSIFIER, ""] if FIRST_STAGE in model else [""]:
        key, name = f"{_key(stage)}.monitor", str(stage_config(model, stage).monitor)
        known = [n for n, figure in MONITORS.items() if figure.higher_is_better is not None]
        if name not in known:
            close = nearest(name, known)
            raise UserError(
                f"{key}={name}: is no metric of `val` that can choose{close}; there are: "
                f"{', '.join(known)}."
            )
        if not MONITORS[name].needs <= there:
            wrong[key] = name
    if wrong:
        lacking = sorted(set().union(*(MONITORS[name].needs for name in wrong.values())) - there)
        possible = [n for n in ("max_box_acc", "pxap", "accuracy") if MONITORS[n].needs <= there]
        given = " ".join(f"{key}={name}" for key, name in wrong.items())
        words = " or ".join(" ".join(f"{key}={name}" for key in wrong) for name in possible)
        raise UserError(
            f"{given}: needs {' and '.join(lacking)}, but the split `val` has none; choose by "
            f"{words}."
        )


def _try_to_build(config: DictConfig, num_classes: int, evaluation: dict[str, Any]) -> None:
    """Build every stage once, untrained and on no device, with its optimizers.

    A misfit shows now, also in a stage that is trained hours later.
    """
    plain = without_pretraining(config.model)
    for stage in [CLASSIFIER, ""] if FIRST_STAGE in plain else [""]:
        model = stage_config(plain, stage)
        key = _key(stage)
        with _naming(key, f".network{_origins(config, f'{key}.network')}"):
            network = build_network(model, num_classes)
        _check_cells(network, config.data.crop_size)
        with _naming(key, ".module"):
            module = build_module(model, network, **({} if stage else evaluation))
        with _naming(key, ".module (optimizer, scheduler)"):
            found = module.configure_optimizers()
            for part in found if isinstance(found, list) else [found]:
                part["optimizer"].step()
                if "lr_scheduler" in part:
                    part["lr_scheduler"].step()
        _try_on_one_image(module, config)


def _try_on_one_image(module: SaliencyModule, config: DictConfig) -> None:
    """Explain one image of the configured size, which a network may not take.

    Raises:
        UserError: If that fails.
    """
    size = config.data.crop_size
    image = torch.zeros(1, 3, size, size)
    try:
        with torch.no_grad():
            module.eval().explain(image, torch.zeros(1, dtype=torch.int64))
    except Exception as error:  # a network of timm may raise anything
        raise UserError(
            f"data.crop_size={size}: backbone={config.backbone.name} does not take images of this "
            f"size: {first_sentence(error)}; choose another size, or another backbone."
        ) from None


def _check_cells(network: nn.Module, size: int) -> None:
    """Check that images of ``size`` pixels leave a classifier a map of several cells."""
    if not isinstance(network, MultiScaleClassifier):
        return
    try:
        with torch.no_grad():
            cells = network.eval().features(torch.zeros(1, 3, size, size)).shape[-2:]
    except (RuntimeError, ValueError) as error:
        raise UserError(f"data.crop_size={size}: {first_sentence(error)}.") from None
    if cells.numel() < 2:
        raise UserError(
            f"data.crop_size={size}: the network's map has {cells.numel()} cell at this size, so "
            "that it shows nothing; give larger images."
        )


def _origins(config: DictConfig, key: str) -> str:
    """List in brackets the keys of the recipe that a part's options are taken from."""
    origins = [origin_of(config, f"{key}.{name}") for name in OmegaConf.select(config, key)]
    given = ", ".join(origin for origin in origins if not origin.startswith(("model.", "backbone")))
    return f" ({given})" if given else ""


@contextmanager
def _naming(key: str, part: str) -> Iterator[None]:
    """Name the part of a stage's configuration that an error is about."""
    try:
        yield
    except InstantiationException as error:
        below = str(error).partition("full_key: ")[2].strip()
        full = f"model.{below}" if below else f"{key}{part}"
        raise UserError(f"{full}: {first_sentence(error.__cause__ or error)}.") from None
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise UserError(f"{key}{part}: {first_sentence(error)}.") from None
