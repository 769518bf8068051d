"""The command ``train.py``."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import Command
from learned_saliency.pipeline.reports import format_table
from learned_saliency.pipeline.training.fit import train
from learned_saliency.pipeline.training.resume import resumed_config


def _run(config: DictConfig) -> None:
    """Train; print the table and the paths of what was written."""
    words = HydraConfig.get().overrides.task
    result = train(resumed_config(config, words))
    if rank_zero_only.rank == 0:
        print(f"\nTest split, %\n{format_table(result.results)}\n")
        print("\n".join(str(path) for path in result.written))


COMMAND = Command("train.py", "config", _run)
