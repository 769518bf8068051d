"""Job of ``convert.py``: published weights become a run."""

from learned_saliency.pipeline.conversion.command import COMMAND
from learned_saliency.pipeline.conversion.convert import convert

__all__ = [
    "COMMAND",
    "convert",
]
