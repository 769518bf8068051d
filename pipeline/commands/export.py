"""The command ``export.py``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    UserError,
    check_folder,
    find_checkpoint,
    is_on_hub,
)


def check(config: DictConfig) -> None:
    """Check that the checkpoint is there, and that the folder can be made."""
    if config.checkpoint is None:
        raise UserError("checkpoint has no value: give it as checkpoint=RUN_OR_FILE.")
    if config.out is None and is_on_hub(config.checkpoint):
        raise UserError(f"out has no value: say where to export {config.checkpoint}, out=FOLDER.")
    if config.out is not None:
        check_folder("out", str(Path(config.out).expanduser().parent))
    find_checkpoint(config.checkpoint, "best.ckpt")


def announce(config: DictConfig) -> str:
    """Say what is going to be exported, in which format, and where it is written."""
    place = "its folder `export`" if config.out is None else config.out
    upload = "" if config.push is None else f", and uploading it to {config.push}"
    return f"exporting {config.checkpoint} as {config.format}, into {place}{upload}"


EXPORT = Command(
    name="export",
    config_name="export",
    job="export",
    page=Page(
        about="Write a trained model as a file that runs without this repository.",
        usage=(
            "checkpoint=RUN",
            "checkpoint=RUN format=pt2 maps=predicted out=FOLDER",
            "checkpoint=RUN format=hf license=apache-2.0 push=USER/NAME",
        ),
    ),
    check=check,
    announce=announce,
)
