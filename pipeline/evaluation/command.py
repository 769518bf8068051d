"""The work of ``evaluate.py``, and what it prints."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.reports import format_table


def run(config: DictConfig) -> None:
    """Evaluate; print the table and the paths of what was written."""
    result = evaluate(config)
    if rank_zero_only.rank == 0:
        part = "" if config.limit is None else f", a quick look at limit={config.limit} images"
        title = f"Split {config.split}{part}"
        print(f"\n{format_table(result.results, result.figures, title)}\n")
        print("\n".join(printable(str(path)) for path in result.written))
