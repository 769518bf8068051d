"""Test maps of a checkpoint or any classifier: ``python evaluate.py checkpoint=RUN``."""

from learned_saliency.pipeline import main

if __name__ == "__main__":
    main("evaluate")
