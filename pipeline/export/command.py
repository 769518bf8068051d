"""The work of ``export.py``, and what it prints."""

from __future__ import annotations

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import printable
from learned_saliency.pipeline.export.export import export


def run(config: DictConfig) -> None:
    """Export; print how exact it is and the paths of the files."""
    made = export(config)
    if made.differences is not None:
        worst = ", ".join(f"{name} {value:.1e}" for name, value in made.differences.items())
        print(f"Largest difference from the checkpoint or classifier: {worst}")
    paths = [str(path) for path in (made.file, made.facts, made.box, made.report) if path]
    print("\n".join(map(printable, [*paths, *filter(None, [made.address])])))
