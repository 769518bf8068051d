"""Parts that a configuration from elsewhere may name."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from learned_saliency import attribution, datamodules, losses, metrics, models, trainers
from learned_saliency.pipeline.cli import UserError

_GIVEN = f"{__name__.rpartition('.')[0]}.given_network"  # builds networks of libraries alone


@functools.cache
def _allowed_targets() -> frozenset[str]:
    rooms = (attribution, datamodules, losses, metrics, models, trainers)
    parts = {f"{room.__name__}.{name}" for room in rooms for name in room.__all__}
    return frozenset(parts | {_GIVEN})


def foreign_parts(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """Find each ``_target_`` that is neither a part of this project nor an optimizer of torch.

    Args:
        config: A configuration without references.

    Yields:
        The key and the value of each.
    """
    for key, value in _leaves(OmegaConf.to_container(config, resolve=False)):
        if key.rpartition(".")[2] == "_target_" and not _is_allowed(value):
            yield key, value


def check_named_parts(config: DictConfig, origin: Path) -> None:
    """Check that a configuration from a file names only this project's parts and optimizers.

    Saved configurations are resolved; a configuration that still holds ``${...}`` could read
    private values, such as an environment variable.

    Raises:
        UserError: If a ``_target_`` names anything else, or a value is not resolved.
    """
    for _, value in _leaves(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str) and "${" in value:
            raise UserError(
                f"{origin}: its configuration holds '{value}', which would be looked up on this "
                "machine; it is not loaded."
            )
    for _, target in foreign_parts(config):
        raise UserError(
            f"{origin}: its configuration names '{target}', neither a part of this project nor an "
            "optimizer of torch; it is not loaded."
        )


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield values that are no group and no list, by dotted keys, also those of ``_target_``."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "_target_" and not isinstance(value, str):
                yield f"{key}.{name}", value
            else:
                yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, f"{key}.{index}")
    else:
        yield key, node


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
