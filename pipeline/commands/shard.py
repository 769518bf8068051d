"""The command ``learned-saliency data shard``."""

from __future__ import annotations

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    UserError,
    check_folder,
)
from learned_saliency.pipeline.commands.data import check_described, data_words

_TASKS = ("multiclass", "binary")  # one class per image
_WHERE_READ = ("classes", "known_classes", "permute_labels")


def check(config: DictConfig) -> None:
    """Check that the data set is there, and that its shards can be written."""
    if config.out is None:
        raise UserError("out has no value: give the folder of the shards as out=...")
    if config.data.task not in _TASKS:
        raise UserError(
            f"data.task={config.data.task}: a sample of a shard has one class; use the images of "
            "this data set as they are."
        )
    for key in _WHERE_READ:
        if config.data.get(key) is not None:
            raise UserError(
                f"data.{key}: shards hold the whole data set; leave it out here, and give it where "
                "they are read."
            )
    check_folder("out", config.out)
    check_described(config.data)


def announce(config: DictConfig) -> str:
    """Say which data set is going to be written as shards, and where."""
    return f"writing {config.data.name} of {config.data.root} as shards, into {config.out}"


SHARD = Command(
    name="shard",
    config_name="shard",
    job="data.shard",
    page=Page(
        about="Write a data set as tar shards for data=webdataset.",
        usage=(
            "folder data.root=photos out=shards",
            "wsol data.root=IMAGES data.metadata=METADATA out=shards shard_mb=250",
        ),
        more=(
            "Also called as `learned-saliency data shard`. Writes train-000000.tar, ... and "
            "shards.json into the folder: the bytes of the images as they are, with class, boxes "
            "and masks. Each shard is there whole or not at all, and a repeated call writes those "
            "that are missing."
        ),
    ),
    check=check,
    announce=announce,
    words=data_words,
    script=False,
)
