"""The command ``convert.py``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import Command, Page, UserError, check_folder, listed, values


def check(config: DictConfig) -> None:
    """Check that the published files and folders are there."""
    for path in values(config.published):
        if not Path(path).expanduser().exists():
            raise UserError(f"{path}: there is no such file.")
    check_folder("output_dir", config.output_dir)


def announce(config: DictConfig) -> str:
    """Say of which files a run is going to be made, of which model, and where it is written."""
    return (
        f"making a run of {listed(config.published)} as {config.model.name} with backbone "
        f"{config.backbone.name}, into {config.output_dir}"
    )


CONVERT = Command(
    name="convert",
    config_name="convert",
    job="conversion",
    page=Page(
        about="Make a run of weights of the published CALM, F-CAM and CASM code.",
        usage=("published=checkpoint.pth.tar experiment=calm_cub_resnet50 data.root=CUB",),
        more=(
            "Groups and keys are those of training; of them, those of data, backbone, model and "
            "experiment have a meaning here. The classes are counted in the file."
        ),
    ),
    check=check,
    announce=announce,
)
