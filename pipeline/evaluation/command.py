"""The command ``evaluate.py``."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import Command
from learned_saliency.pipeline.evaluation.evaluate import evaluate, hydra_words
from learned_saliency.pipeline.reports import format_table


def _run(config: DictConfig) -> None:
    """Evaluate; print the table and the paths of what was written."""
    result = evaluate(config)
    if rank_zero_only.rank == 0:
        print(f"\nSplit {config.split}, %\n{format_table(result.results, result.figures)}\n")
        print("\n".join(str(path) for path in result.written))


COMMAND = Command("evaluate.py", "evaluate", _run, words=hydra_words, complete=False)
