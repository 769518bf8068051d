"""Construction of the parts of a run from its configuration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import lightning as L
from filelock import FileLock
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.datamodules import (
    COLORS,
    WSOLDataModule,
    read_class_names,
    read_groups,
    read_name_list,
)
from learned_saliency.errors import SurroundingsError
from learned_saliency.pipeline.cli import (
    CLASS_FILES,
    GROUP_FILES,
    UserError,
    first_sentence,
)
from learned_saliency.trainers import SaliencyModule

FIRST_STAGE = "first_stage"  # key of the model that another model is built on
# Keys that may name a file of groups of classes.
_GROUPED = (
    "data.superset",
    "model.superset",
    "model.module.superset",
    "attribution.camsuperset.superset",
)
CLASSIFIER = "classifier"  # name of that stage: of its folders, and before a `/` of its curves


def build_data(config: DictConfig, stage: str | None = None, **options: Any) -> WSOLDataModule:
    """Build the data module; its data set is made if necessary, read and checked.

    Where the classes are those of a classifier that was trained on other data, it is told how many
    of the data set's own are among them. A lock keeps the processes of one machine from making the
    data set at the same time.

    Args:
        config: Configuration whose ``data`` describes the data module.
        stage: Stage whose splits are read and checked, see `WSOLDataModule.setup`.
        **options: Options that replace configured ones; None for those that are configured.
    """
    given = {name: value for name, value in options.items() if value is not None}
    data = create_data(config, **given)
    if data.reader is not None and not data.read_only:
        make_data(data, stage)
    data.setup(stage)
    if (told := data.told_classes()) and rank_zero_only.rank == 0:
        print(f"data: {told}", file=sys.stderr)
    return data


def create_data(config: DictConfig, **options: Any) -> WSOLDataModule:
    """Create the data module; nothing is made or read yet.

    Args:
        config: Configuration whose ``data`` describes the data module.
        **options: Options that replace configured ones.

    Raises:
        UserError: If an option is refused.
    """
    try:
        return instantiate(config.data, **options)
    except (InstantiationException, TypeError) as error:
        raise UserError(f"data: {first_sentence(error.__cause__ or error)}.") from None


def make_data(data: WSOLDataModule, stage: str | None) -> None:
    """Let the reader of a data set make what is missing, one process at a time.

    Args:
        data: The data module, which has a reader.
        stage: See `WSOLDataModule.make`.

    Raises:
        SurroundingsError: If a file of it can be neither read nor written.
    """
    made = data.root if data.metadata.is_relative_to(data.root) else data.metadata
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            # where nothing can be written beside it, the set may still be complete
            with suppress(OSError):
                lock = made.with_name(f"{made.name}.lock")
                lock.touch()  # raises where the lock would wait for ever
                stack.enter_context(FileLock(lock))
            data.make(stage)
    except OSError as error:
        raise SurroundingsError(
            f"{error.filename or made}: can be neither read nor written, so that the data set is "
            f"not made ({error.strerror or error}); LEARNED_SALIENCY_CACHE or data.root set its "
            "place."
        ) from None


def with_class_files(config: DictConfig) -> DictConfig:
    """Copy a configuration with the content of the files that name or group its classes.

    Checkpoints then hold the names and groups, wherever the files go, and keys that refer to them
    find them.

    Returns:
        ``config`` itself where no file is named.

    Raises:
        DataError: If a file cannot be used.
    """
    for key in CLASS_FILES:
        given = (config.get("data") or {}).get(key)
        if isinstance(given, str):
            config = config.copy()
            config.data[key] = read_name_list(Path(given).expanduser())
    for key in _GROUPED:
        parent, _, name = key.rpartition(".")
        group = OmegaConf.select(config, parent)
        if not isinstance(group, DictConfig) or name not in group:
            continue
        value = None if OmegaConf.is_interpolation(group, name) else group[name]
        if isinstance(value, str) and value.lower().endswith(GROUP_FILES):
            config = config.copy()
            groups = read_groups(Path(value).expanduser(), known_names(config))
            OmegaConf.update(config, key, groups)
    return config


def with_statistics(data: WSOLDataModule, *configs: DictConfig) -> None:
    """Set mean and standard deviation of a training that gives none, from its training images.

    A checkpoint of it then holds the numbers. Every process measures the same.

    Args:
        data: The data module, set up.
        *configs: Configurations whose ``data`` describes the data set; what refers to these values
            finds the numbers.

    Raises:
        DataError: See `WSOLDataModule.measure`.
    """
    if (told := data.measure()) and rank_zero_only.rank == 0:
        print(f"data: {told}", file=sys.stderr)
    for config in configs:
        if config.data.mean is None:
            config.data.mean, config.data.std = list(data.mean), list(data.std)


def channels_of(data: Mapping[str, Any]) -> int:
    """Return the number of channels of a data set's images; runs of before have no such key."""
    return int(data.get("channels", COLORS))


def known_names(config: DictConfig) -> list[str] | None:
    """Find the names of the classes that are known before the data set is made."""
    data = config.get("data") or {}
    if data.get("class_names") is not None:
        return list(data.class_names)
    if data.get("metadata") is None:
        return None
    return read_class_names(Path(data.metadata).expanduser() / "class_names.txt")


def stage_config(model: DictConfig, stage: str) -> DictConfig:
    """Return the configuration of a stage: `CLASSIFIER`, or empty for the model itself."""
    return model[FIRST_STAGE] if stage else model


def trained_stages(model: Mapping[str, Any]) -> list[str]:
    """List the stages of a model that are trained, see `stage_config`.

    A given network, which stays as it is, has no module that would train it.
    """
    return [CLASSIFIER, ""] if "module" in model.get(FIRST_STAGE, {}) else [""]


def build_network(
    model: DictConfig, num_classes: int, classifier: nn.Module | None = None
) -> nn.Module:
    """Build the network of a model.

    Args:
        model: The model's configuration.
        num_classes: Number of classes of the data set.
        classifier: Trained network of the first stage, for a model that has a first stage; by
            default this network is built untrained.
    """
    factory = instantiate(model.network, _partial_=True)
    if FIRST_STAGE not in model:
        return factory(num_classes=num_classes)
    return factory(classifier=classifier or build_network(model[FIRST_STAGE], num_classes))


def build_module(model: DictConfig, network: nn.Module, **options: Any) -> SaliencyModule:
    """Build a model's Lightning module around its network; ``options`` replace configured ones."""
    return instantiate(model.module, _partial_=True)(network=network, **options)


def build_trainer(config: DictConfig, **parts: Any) -> L.Trainer:
    """Build the trainer; evaluation keeps gradients available, the data keep their samplers.

    ``fast_dev_run`` takes one epoch of a batch (or of as many batches as it says) of each split;
    other than Lightning's it writes checkpoints, of which the test and later stages are made.
    """
    options = instantiate(config.trainer, _convert_="all")
    for own in ("checkpoint_minutes", "compile"):  # no arguments of Lightning's
        options.pop(own, None)
    if batches := int(options.pop("fast_dev_run", 0)):
        splits = ("train", "val", "test", "predict")
        options |= {f"limit_{split}_batches": batches for split in splits}
        options |= {"check_val_every_n_epoch": 1}
        parts |= {"max_epochs": 1} if "max_epochs" in parts else {}
    return L.Trainer(
        **options,
        **parts,
        inference_mode=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
