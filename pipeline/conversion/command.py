"""The command ``convert.py``."""

from __future__ import annotations

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import Command
from learned_saliency.pipeline.conversion.convert import convert


def _run(config: DictConfig) -> None:
    """Convert; print what matched and the paths of the files."""
    made = convert(config)
    print(made.conversion.summary())
    print("\n".join(str(path) for path in made.written))


COMMAND = Command("convert.py", "convert", _run)
