"""The command ``export.py``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from learned_saliency.pipeline.cli import (
    Command,
    Page,
    UserError,
    check_folder,
    check_image_folder,
    check_subject,
    is_on_hub,
)

_PRECISIONS = ("float32", "float16", "int8")


def check(config: DictConfig) -> None:
    """Check that the network's files are there, and that the folder can be made."""
    if config.out is not None:
        check_folder("out", str(Path(config.out).expanduser().parent))
    for key in ("verify_images", "calibration"):
        if config[key] is not None:
            check_image_folder(key, config[key])
    check_subject(config, "export.py")
    if config.maps is not None and not isinstance(config.maps, str):
        raise UserError("maps: expected one of label, predicted, all.")
    if config.precision not in _PRECISIONS:
        raise UserError(
            f"precision={config.precision}: expected one of {', '.join(_PRECISIONS)} here."
        )
    if config.out is None and config.checkpoint is not None and is_on_hub(config.checkpoint):
        raise UserError(f"out has no value: say where to export {config.checkpoint}, out=FOLDER.")


def announce(config: DictConfig) -> str:
    """Say what is going to be exported, in which format, and where it is written."""
    place = "its folder `export`" if config.out is None else config.out
    if config.checkpoint is None and config.out is None:
        place = "the folder `export`"
    method = f" with {config.method}" if config.method is not None else ""
    network = config.checkpoint or config.classifier
    upload = "" if config.push is None else f", and uploading it to {config.push}"
    return f"exporting {network}{method} as {config.format}, into {place}{upload}"


EXPORT = Command(
    name="export",
    config_name="export",
    job="export",
    page=Page(
        about="Write a trained model, or any classifier with a map, as a file for elsewhere.",
        usage=(
            "checkpoint=RUN",
            "checkpoint=RUN format=pt2 maps=predicted out=FOLDER",
            "checkpoint=RUN format=hf license=apache-2.0 push=USER/NAME",
            "classifier=timm:resnet50 layer=layer4 method=gradcam out=FOLDER",
        ),
    ),
    check=check,
    announce=announce,
    complete=False,
)
