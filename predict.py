"""Maps, classes and boxes of images: ``python predict.py checkpoint=RUN images=PATH out=DIR``."""

from __future__ import annotations

import signal
import sys

import hydra
from omegaconf import DictConfig

from pipeline.entry import check_or_exit, run_or_exit
from pipeline.predict import CONFIG_NAME, hydra_words, predict


@hydra.main(config_path="configs", config_name=CONFIG_NAME, version_base="1.3")
def run(config: DictConfig) -> None:
    """Explain images with a composed configuration; print what was written where."""
    run_or_exit("predict.py", lambda: _predict(config))


def _predict(config: DictConfig) -> None:
    found = predict(config)
    skipped = f", {found.skipped} files skipped" if found.skipped else ""
    print(f"{found.images} images{skipped}")
    print("\n".join(str(path) for path in found.written))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # temporary files are removed
    sys.argv[1:] = hydra_words(sys.argv[1:])
    check_or_exit("predict.py", CONFIG_NAME, complete=False)
    run()
