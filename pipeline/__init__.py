"""What the entry points do: a job is one folder."""

from learned_saliency.pipeline.commands import main

__all__ = [
    "main",
]
