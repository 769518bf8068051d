"""Plan of a training, checked before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import (
    check_complete,
    check_folder,
    check_values,
    find_resume_point,
)
from learned_saliency.pipeline.runs import (
    CLASSIFIER,
    FIRST_STAGE,
    RECORD,
    Checkpoint,
    build_data,
    build_evaluation,
    check_dashboards,
    check_hardware,
    check_limits,
    create_folder,
    known_names,
    located_data,
    read_record,
    run_record,
    with_class_files,
    with_statistics,
)
from learned_saliency.pipeline.training.checks import (
    check_accumulation,
    check_classes,
    check_clipping,
    check_feature_cache,
    check_frozen,
    check_images,
    check_labeled,
    check_parts,
    check_precision,
    check_pseudo_labels,
    check_splits,
    check_target,
    check_task,
)
from learned_saliency.pipeline.training.classifier import find_classifier
from learned_saliency.pipeline.training.sharding import check_sharding
from learned_saliency.pipeline.training.shares import stage_data
from learned_saliency.pipeline.training.speed import check_compiled, check_steps
from learned_saliency.pipeline.training.trial import try_to_build
from learned_saliency.trainers import SaliencyModule


class Plan(NamedTuple):
    """Checked parts of a training.

    Attributes:
        config: The configuration; its first stage describes a classifier if one was given.
        record: What `run_record` gives of the configuration, for `resumed_config`.
        stages: The remaining stages: `CLASSIFIER` and empty for the model itself, or one of them.
        data: The data module, set up.
        learned: Data of each of ``stages``: ``data`` itself, or shares of its ``val`` for one that
            learns from boxes or masks.
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
    learned: dict[str, WSOLDataModule]
    evaluation: dict[str, Any]
    resumed: Checkpoint | None
    classifier: nn.Module | None
    folder: Path
    goes_on: bool


def make_plan(
    config: DictConfig, resumed: Checkpoint | None = None, named: Collection[str] = ()
) -> Plan:
    """Check a configuration and the parts that it names; render or read the data set last.

    Args:
        config: The configuration.
        resumed: The checkpoint to go on from; None before the first one of a run.
        named: Keys that the user has given, see `find_classifier`.

    Raises:
        UserError: If a value, a combination of values, a checkpoint or the folder is wrong.
        DataError: If the data set is wrong.
    """
    check_values(config)
    check_complete(config)
    config = with_class_files(config)
    _check_keys(config)
    if resumed is None:
        config = _with_widths_of_file(config)
    found = find_classifier(config, resumed, named)
    check_steps(config := found.config)
    composed = config.copy()  # Hydra's instantiate resolves references in place
    evaluation = build_evaluation(config, known_names(config))
    located = _located(config, resumed, named) if config.resume else config
    data = build_data(located, None if config.test else "fit")
    with_statistics(data, config, composed)
    record = _record(composed, resumed)
    stages = _stages(config, resumed)
    check_splits(config, data, stages)
    for checkpoint in (resumed, found.checkpoint):
        if checkpoint is not None:
            check_classes(checkpoint, data)
    found.check_classes(data)
    modules = _try_stages(config, stages, data, evaluation, found.given)
    learned = _data_of_stages(config, resumed, data, {name: modules[name] for name in stages})
    goes_on = bool(config.resume)
    folder = find_resume_point(config.resume).folder if goes_on else create_folder(config, record)
    _check_files(modules, resumed, folder)
    parts = data, learned, evaluation, resumed, found.network, folder, goes_on
    return Plan(config, record, stages, *parts)


def _check_keys(config: DictConfig) -> None:
    """Check what keys say together, before any part is built."""
    check_parts(config)
    check_pseudo_labels(config)
    check_dashboards(config)
    check_hardware(config.trainer)
    check_precision(config.trainer)
    check_clipping(config)
    check_target(config)
    check_task(config)
    check_feature_cache(config)
    if not config.resume:
        check_folder("output_dir", config.output_dir)


def _record(config: DictConfig, resumed: Checkpoint | None) -> dict[str, Any]:
    """Return the record of a run; one that goes on keeps the experiment that it was begun with."""
    record = run_record(config)
    if resumed is not None:
        record["experiment"] = resumed.content[RECORD].get("experiment")
    elif config.resume:
        begun = read_record(find_resume_point(config.resume).folder)
        record["experiment"] = begun.get("experiment")
    return record


def _try_stages(
    config: DictConfig,
    stages: list[str],
    data: WSOLDataModule,
    evaluation: dict[str, Any],
    given: nn.Module | None,
) -> dict[str, SaliencyModule]:
    """Build all stages once; check that those to be trained have what they need."""
    modules = try_to_build(config, data.num_classes, evaluation, given)
    check_frozen(config, list(modules.values()))
    trained = {name: modules[name] for name in stages}
    check_compiled(config, trained)
    check_sharding(config, trained)
    check_labeled(config, data, [name for name in stages if modules[name].needs_labels])
    return modules


def _data_of_stages(
    config: DictConfig,
    resumed: Checkpoint | None,
    data: WSOLDataModule,
    modules: dict[str, SaliencyModule],
) -> dict[str, WSOLDataModule]:
    """Give each stage its data; check that they are enough, and those of the run that goes on."""
    found = stage_data(config, data, modules)
    for of_stage in found.values():
        check_limits(config.trainer, of_stage, {name: name for name in ("train", "val", "test")})
    if resumed is not None:
        check_images(resumed, found[resumed.stage])
        check_accumulation(resumed, config.trainer)
    return found


def _check_files(
    modules: dict[str, SaliencyModule], resumed: Checkpoint | None, folder: Path
) -> None:
    """Check that the files of a run are there that the checkpoint to go on from names."""
    if resumed is not None:
        kept = folder / "checkpoints" / resumed.stage
        modules[resumed.stage].check_files(kept, resumed.content)


def _located(
    config: DictConfig, resumed: Checkpoint | None, named: Collection[str] = ()
) -> DictConfig:
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
    typed = {key for key in saved if f"data.{key}" in named}  # an address counts only so
    given = {key: data[key] for key in saved if key in typed or data[key] != saved[key]}
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
