"""Test maps of a checkpoint or any classifier: ``python evaluate.py checkpoint=RUN``."""

from __future__ import annotations

import sys

import hydra
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from pipeline.entry import check_or_exit, run_or_exit
from pipeline.evaluate import CONFIG_NAME, evaluate, hydra_words
from pipeline.folder import format_table


@hydra.main(config_path="configs", config_name=CONFIG_NAME, version_base="1.3")
def run(config: DictConfig) -> None:
    """Evaluate with a composed configuration; print the table and the paths of what was written."""
    run_or_exit("evaluate.py", lambda: _evaluate(config))


def _evaluate(config: DictConfig) -> None:
    result = evaluate(config)
    if rank_zero_only.rank == 0:
        print(f"\nSplit {config.split}, %\n{format_table(result.results)}\n")
        print("\n".join(str(path) for path in result.written))


if __name__ == "__main__":
    sys.argv[1:] = hydra_words(sys.argv[1:])
    check_or_exit("evaluate.py", CONFIG_NAME, complete=False)
    run()
