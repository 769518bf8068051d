"""Jobs of the entry points, one folder each; a job is imported when its command is run."""

from learned_saliency.pipeline.commands import main

__all__ = [
    "main",
]
