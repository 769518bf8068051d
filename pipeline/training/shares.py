"""Data of the stages of a training: the set or shares of ``val``, in epochs of any length."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.datamodules import EpochLength, WSOLDataModule
from learned_saliency.pipeline.reports import told_supervision
from learned_saliency.pipeline.runs import stage_config
from learned_saliency.trainers import SaliencyModule


def stage_data(
    config: DictConfig, data: WSOLDataModule, modules: Mapping[str, SaliencyModule]
) -> dict[str, WSOLDataModule]:
    """Give each stage the data that its module declares to learn from; say what is unusual.

    Args:
        config: The configuration.
        data: The data module, set up.
        modules: Modules of the stages to train.

    Raises:
        DataError: If a module learns from boxes or masks of ``val`` which are not there.
    """
    found = {}
    for stage, module in modules.items():
        learned = module.learned_share
        found[stage] = data if learned is None else data.with_shares(*learned)
        told = found[stage].learned_from
        if told is not None and rank_zero_only.rank == 0:
            seen = told_supervision(told)
            print(f"data: {seen}, are learned from: a supervised bound", file=sys.stderr)
        steps = stage_config(config.model, stage).get("epoch_steps")  # runs of before lack the key
        if steps is not None:
            length = EpochLength(steps, config.trainer.get("accumulate_grad_batches", 1))
            found[stage] = found[stage].with_epochs(length)
    return found
