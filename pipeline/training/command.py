"""The work of ``train.py``, and what it prints."""

from __future__ import annotations

import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from learned_saliency.pipeline.cli import named_keys, printable
from learned_saliency.pipeline.reports import format_table
from learned_saliency.pipeline.runs import as_one
from learned_saliency.pipeline.training import slurm
from learned_saliency.pipeline.training.fit import train
from learned_saliency.pipeline.training.resume import resumed_config
from learned_saliency.pipeline.training.sweep import note_run


def run(config: DictConfig) -> None:
    """Train; print the table and the paths of what was written."""
    words = OmegaConf.to_container(HydraConfig.get().overrides.task)
    requeued = None if config.resume or _shares_job() else slurm.requeued_run()
    if requeued is not None:
        config.resume, words = str(requeued), []  # the words are those that it was begun with
        print(f"train.py: back from the queue, going on in {requeued}", file=sys.stderr)
    with as_one():
        result = train(resumed_config(config, words), named_keys(words))
    if rank_zero_only.rank == 0:
        note_run(result.folder, result.results)
        if result.results:
            print(f"\n{format_table(result.results, title='Test split')}\n")
        print("\n".join(printable(str(path)) for path in result.written))


def _shares_job() -> bool:
    """Tell whether the run is one of a sweep whose runs are not jobs of SLURM of their own."""
    hydra = HydraConfig.get()
    own_job = hydra.runtime.choices["hydra/launcher"] == "submitit_slurm"
    return hydra.mode == RunMode.MULTIRUN and not own_job
