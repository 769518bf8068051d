"""Job of ``evaluate.py``: maps of a model or of any classifier are tested."""

from learned_saliency.pipeline.evaluation.command import run
from learned_saliency.pipeline.evaluation.evaluate import evaluate

__all__ = [
    "evaluate",
    "run",
]
