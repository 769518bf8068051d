"""The work of ``convert.py``, and what it prints."""

from __future__ import annotations

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.conversion.convert import convert


def run(config: DictConfig) -> None:
    """Convert; print what matched and the paths of the files."""
    made = convert(config)
    print(made.conversion.summary())
    print("\n".join(printable(str(path)) for path in made.written))
