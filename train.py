"""Train a saliency model and test it: ``python train.py model=fcam backbone=resnet50``."""

from learned_saliency.pipeline import main

if __name__ == "__main__":
    main("train")
