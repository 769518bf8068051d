"""Explain images: ``python predict.py checkpoint=RUN images=PATH out=DIR``."""

from learned_saliency.pipeline import main

if __name__ == "__main__":
    main("predict")
