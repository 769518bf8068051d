"""The work of ``evaluate.py``, and what it prints."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.errors import OtherProcessEnded, Stopped
from learned_saliency.pipeline.cli import named_keys, printable
from learned_saliency.pipeline.evaluation.evaluate import evaluate
from learned_saliency.pipeline.evaluation.unfinished import advice
from learned_saliency.pipeline.reports import format_table
from learned_saliency.pipeline.runs import as_one


def run(config: DictConfig) -> None:
    """Evaluate; print the table and the paths of what was written, or the command that goes on."""
    folders: list[Path] = []
    try:
        with as_one():
            words = HydraConfig.get().overrides.task
            result = evaluate(config, folders.append, named_keys(words))
    except (Stopped, OtherProcessEnded) as ended:
        how = advice(folders[0]) if folders and rank_zero_only.rank == 0 else ""
        if not how:
            raise
        if isinstance(ended, Stopped):
            raise Stopped(ended.signal, how) from None
        raise OtherProcessEnded(f"{ended}; {how}", ended.code) from None
    if rank_zero_only.rank == 0:
        part = "" if config.limit is None else f", a quick look at limit={config.limit} images"
        title = f"Split {config.split}{part}"
        print(f"\n{format_table(result.results, result.figures, title)}\n")
        print("\n".join(printable(str(path)) for path in result.written))
        if result.bundle is not None:
            print(f"{printable(str(result.bundle.path))}\nits sha256: {result.bundle.sha256}")
