"""Job of ``export.py``: a trained model becomes a file that runs elsewhere."""

from learned_saliency.pipeline.export.command import run
from learned_saliency.pipeline.export.export import export

__all__ = [
    "export",
    "run",
]
