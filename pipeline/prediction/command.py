"""The work of ``predict.py``, and what it prints."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.prediction.predict import predict
from learned_saliency.pipeline.runs import as_one


def run(config: DictConfig) -> None:
    """Explain images; print what was written where."""
    with as_one():
        found = predict(config)
    if rank_zero_only.rank == 0:
        skipped = f", {found.skipped} files skipped" if found.skipped else ""
        print(f"{found.images} images{skipped}")
        print("\n".join(printable(str(path)) for path in found.written))
