"""Job of ``convert.py``: published weights become a run."""

from learned_saliency.pipeline.conversion.command import run
from learned_saliency.pipeline.conversion.convert import convert

__all__ = [
    "convert",
    "run",
]
