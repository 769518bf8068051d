"""Make a run of published weights: ``python convert.py published=FILE experiment=NAME``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from pipeline.convert import CONFIG_NAME, convert
from pipeline.entry import check_or_exit, run_or_exit


@hydra.main(config_path="configs", config_name=CONFIG_NAME, version_base="1.3")
def run(config: DictConfig) -> None:
    """Convert with a composed configuration; print what matched and the paths of the files."""
    run_or_exit("convert.py", lambda: _convert(config))


def _convert(config: DictConfig) -> None:
    made = convert(config)
    print(made.conversion.summary())
    print("\n".join(str(path) for path in made.written))


if __name__ == "__main__":
    check_or_exit("convert.py", CONFIG_NAME)
    run()
