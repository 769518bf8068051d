"""Make a run of published weights: ``python convert.py published=FILE experiment=NAME``."""

from learned_saliency.pipeline import main

if __name__ == "__main__":
    main("convert")
