"""Builds the parts of a run from its configuration."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch
from filelock import FileLock
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.attribution import PostHocMethod
from learned_saliency.datamodules import WSOLDataModule
from learned_saliency.pipeline.cli import UserError, nearest
from learned_saliency.trainers import EXPLAINED, FIGURES, NATIVE, SaliencyModule

FIRST_STAGE = "classifier"  # key of the model that another model is built on


def build_data(config: DictConfig, stage: str | None = None) -> WSOLDataModule:
    """The data module, with its data set made where it has to be and read and checked.

    A lock keeps the processes of one machine from making the data set at the same time.

    Args:
        config: Its ``data`` is the data module's configuration.
        stage: What is read and checked, see `WSOLDataModule.setup`.
    """
    data: WSOLDataModule = instantiate(config.data)
    if data.reader is not None:
        made = data.root if data.metadata.is_relative_to(data.root) else data.metadata
        made.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(made.with_name(f"{made.name}.lock")):
            data.prepare_data()
    data.setup(stage)
    return data


def build_network(
    model: DictConfig, num_classes: int, classifier: nn.Module | None = None
) -> nn.Module:
    """The network of a model.

    Args:
        model: The model's configuration.
        num_classes: Number of classes of the data set.
        classifier: Trained network of the first stage, for a model that has one; by default it is
            built untrained.
    """
    factory = instantiate(model.network, _partial_=True)
    if FIRST_STAGE not in model:
        return factory(num_classes=num_classes)
    return factory(classifier=classifier or build_network(model[FIRST_STAGE], num_classes))


def build_module(model: DictConfig, network: nn.Module, **options: Any) -> SaliencyModule:
    """The Lightning module of a model around its network; ``options`` replace configured ones."""
    return instantiate(model.module, _partial_=True)(network=network, **options)


def build_evaluation(config: DictConfig) -> dict[str, Any]:
    """The options of a `SaliencyModule` that say what a test scores, from ``evaluate``.

    Raises:
        UserError: If a method, a figure or the class to explain does not exist.
    """
    wanted = config.evaluate
    for name in wanted.faithfulness:
        if name not in FIGURES:
            _refuse("evaluate.faithfulness", "figure", str(name), list(FIGURES))
    if wanted.explained not in EXPLAINED:
        _refuse("evaluate.explained", "class", str(wanted.explained), list(EXPLAINED))
    return {
        "methods": build_methods(config),
        "faithfulness": list(wanted.faithfulness),
        "black": wanted.black,
        "explained": wanted.explained,
    }


def build_methods(config: DictConfig, key: str = "evaluate.methods") -> dict[str, PostHocMethod]:
    """The post-hoc methods that the list at ``key`` names.

    Raises:
        UserError: If a name is not in ``methods``.
    """
    names = [name for name in OmegaConf.select(config, key) if name != NATIVE]
    for name in names:
        if name not in config.methods:
            _refuse(key, "method", str(name), [NATIVE, *config.methods])
    return {name: instantiate(config.methods[name]) for name in names}


def _refuse(key: str, kind: str, name: str, known: list[str]) -> NoReturn:
    raise UserError(
        f"{key}: no {kind} is named '{name}'{nearest(name, known)}; there are: {', '.join(known)}."
    )


def build_trainer(config: DictConfig, **parts: Any) -> L.Trainer:
    """The Lightning trainer; gradients stay available in evaluation, samplers stay the data's."""
    options = instantiate(config.trainer, _convert_="all")
    return L.Trainer(
        **options,
        **parts,
        inference_mode=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


@functools.cache
def _allowed_targets() -> frozenset[str]:
    from learned_saliency import attribution, datamodules, losses, metrics, models, trainers

    rooms = (attribution, datamodules, losses, metrics, models, trainers)
    return frozenset(f"{room.__name__}.{name}" for room in rooms for name in room.__all__)


def check_named_parts(config: DictConfig, origin: Path) -> None:
    """Check that a configuration from a file names only this project's parts and optimizers.

    Saved configurations are resolved; one that still holds ``${...}`` would read what is none of
    its business, an environment variable for instance.

    Raises:
        UserError: If some ``_target_`` is anything else, or a value is not resolved.
    """
    pending: list[Any] = [OmegaConf.to_container(config, resolve=False)]
    while pending:
        node = pending.pop()
        if isinstance(node, str) and "${" in node:
            raise UserError(
                f"{origin}: its configuration holds '{node}', which would be looked up on this "
                "machine; it is not loaded."
            )
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            target = node.get("_target_")
            if target is not None and not _is_allowed(target):
                raise UserError(
                    f"{origin}: its configuration names '{target}', neither a part of this "
                    "project nor an optimizer of torch; it is not loaded."
                )


def _is_allowed(target: Any) -> bool:
    if not isinstance(target, str):
        return False
    if target in _allowed_targets():
        return True
    module, _, name = target.rpartition(".")
    if module not in ("torch.optim", "torch.optim.lr_scheduler"):
        return False
    part = getattr(torch.optim if module == "torch.optim" else torch.optim.lr_scheduler, name, None)
    bases = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    return isinstance(part, type) and issubclass(part, bases)
