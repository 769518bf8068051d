"""Train a saliency model and test it: ``python train.py model=fcam backbone=resnet50``."""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from pipeline.entry import check_or_exit, run_or_exit
from pipeline.fit import train
from pipeline.folder import format_table
from pipeline.resume import resumed_config


@hydra.main(config_path="configs", config_name="config", version_base="1.3")
def run(config: DictConfig) -> None:
    """Train with a composed configuration; print the table and the paths of what was written."""
    run_or_exit("train.py", lambda: _train(config))


def _train(config: DictConfig) -> None:
    words = HydraConfig.get().overrides.task
    result = train(resumed_config(config, words))
    if rank_zero_only.rank == 0:
        print(f"\nTest split, %\n{format_table(result.results)}\n")
        print("\n".join(str(path) for path in result.written))


if __name__ == "__main__":
    check_or_exit("train.py")
    run()
