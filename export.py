"""Write a trained model as a file: ``python export.py checkpoint=RUN format=onnx``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from pipeline.entry import check_or_exit, run_or_exit
from pipeline.export import CONFIG_NAME, export


@hydra.main(config_path="configs", config_name=CONFIG_NAME, version_base="1.3")
def run(config: DictConfig) -> None:
    """Export with a composed configuration; print how exact it is and the paths of the files."""
    run_or_exit("export.py", lambda: _export(config))


def _export(config: DictConfig) -> None:
    made = export(config)
    if made.differences is not None:
        worst = ", ".join(f"{name} {value:.1e}" for name, value in made.differences.items())
        print(f"Largest difference from the checkpoint: {worst}")
    print(f"{made.file}\n{made.facts}")


if __name__ == "__main__":
    check_or_exit("export.py", CONFIG_NAME)
    run()
