"""Checks of a training whose processes share the weights of a frozen trunk out."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from hydra.utils import get_class
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import stage_config
from learned_saliency.trainers import SaliencyModule, ShardedTrunkDDP


def check_sharding(config: DictConfig, modules: Mapping[str, SaliencyModule]) -> None:
    """Check that the trunk of the model is one whose weights can be shared out, if they are to be.

    A first stage, whose trunk is trained as a rule, is then trained as by DDP; that is said.

    Args:
        config: The configuration.
        modules: The modules to train, by stage.

    Raises:
        UserError: If the weights cannot be shared out.
    """
    if not _is_wanted(config.trainer):
        return
    for key in ("feature_cache", "trainer.compile"):
        *below, name = key.split(".")
        value = (config[below[0]] if below else config).get(name)  # runs of before have no such key
        if value is not None:
            raise UserError(
                f"{key}={value}: goes without trainer=fsdp: it answers for the trunk in the place "
                "of the shares; leave the key out, or choose trainer=ddp."
            )
    for stage, module in modules.items():
        if (obstacle := module.shard_obstacle) is None:
            continue
        if not stage:
            raise UserError(
                f"trainer=fsdp: the training of model={config.model.name} cannot share its trunk "
                f"out: {obstacle}; choose trainer=ddp."
            )
        if rank_zero_only.rank == 0:
            name = stage_config(config.model, stage).name
            print(f"{stage}: {name} is trained as by trainer=ddp: {obstacle}", file=sys.stderr)


def _is_wanted(trainer: DictConfig) -> bool:
    strategy = trainer.get("strategy", "auto")
    return isinstance(strategy, DictConfig) and issubclass(
        get_class(strategy["_target_"]), ShardedTrunkDDP
    )
