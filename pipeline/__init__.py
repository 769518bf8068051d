"""Jobs of the entry points, one folder each, and the parts that they share."""

from learned_saliency.pipeline.commands import main

__all__ = [
    "main",
]
