"""The work of ``train.py``, and what it prints."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.pipeline.reports import format_table
from learned_saliency.pipeline.runs import as_one
from learned_saliency.pipeline.training.fit import train
from learned_saliency.pipeline.training.resume import resumed_config
from learned_saliency.pipeline.training.sweep import note_run


def run(config: DictConfig) -> None:
    """Train; print the table and the paths of what was written."""
    words = HydraConfig.get().overrides.task
    with as_one():
        result = train(resumed_config(config, words))
    if rank_zero_only.rank == 0:
        note_run(result.folder, result.results)
        print(f"\n{format_table(result.results, title='Test split')}\n")
        print("\n".join(str(path) for path in result.written))
