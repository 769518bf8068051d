"""The command ``predict.py``."""

from __future__ import annotations

import os

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    UserError,
    check_folder,
    check_images,
    check_subject,
    hydra_words,
    listed,
    values,
)


def check(config: DictConfig) -> None:
    """Check that images and a folder are named, and that the network and the images are there."""
    for key in ("images", "out"):
        if config[key] is None:
            raise UserError(f"{key} has no value: give it as {key}=...")
    check_folder("out", config.out)
    check_subject(config, "predict.py")
    for source in values(config.images):
        check_images(os.path.expanduser(source))


def announce(config: DictConfig) -> str:
    """Say which images are going to be explained by which network, and where it is written."""
    network = config.checkpoint or config.classifier
    maps = f" by {listed(config.methods)}" if config.methods is not None else ""
    return f"explaining {listed(config.images)} with {network}{maps}, into {config.out}"


PREDICT = Command(
    name="predict",
    config_name="predict",
    job="prediction",
    page=Page(
        about="Write maps, classes and boxes of images of your own.",
        usage=(
            "checkpoint=RUN images=photos out=maps 'methods=[native,opticam]' top_k=3",
            "checkpoint=RUN 'images=photos/**/*.jpg' out=maps/ refine=crf",
            "checkpoint=RUN images=photos out=maps 'labels=[coco,png]' coverage=0.9",
            "classifier=timm:resnet50 weights=FILE layer=layer4 images=photos out=maps",
        ),
        more=(
            "Writes for each image FILE, method and class an overlay (FILE.METHOD.png) and the map "
            "(FILE.METHOD.map.png, FILE.METHOD.npy); FILE.METHOD-CLASS... where several classes "
            "are explained. predictions.json holds classes, probabilities and boxes, and says of "
            "which images the map is flat, so that nothing stands out in it. labels=coco writes "
            "annotation files into labels/coco, coverage=0.9 adds a region that holds the object "
            "with this probability."
        ),
    ),
    check=check,
    announce=announce,
    words=hydra_words,
    complete=False,
)
