"""What the entry points do: a job is one folder, and is imported when its command is run."""

from learned_saliency.pipeline.commands import main

__all__ = [
    "main",
]
