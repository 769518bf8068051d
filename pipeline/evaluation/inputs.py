"""Options of a data set that the explained network, trained on another one, decides."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.datamodules import Size
from learned_saliency.pipeline.runs import (
    Checkpoint,
    Subject,
    has_function,
    library_class_names,
    library_input,
)

_INPUT = ("mean", "std", "crop_size", "center_crop", "evaluation_resize")
_COLORS = ("mean", "std")


def trained_options(
    chosen: bool, config: DictConfig, subject: Subject, given: Collection[str] = ()
) -> dict[str, Any]:
    """Find the options with which a data set fits the network that is explained on it.

    A checkpoint sees the images of another data set as it saw those that it was trained on:
    normalized and resized in the same way, with its own classes, to which labels are translated by
    name. So are labels to the classes that a library's network was trained on, and images are
    normalized as its weights want it.

    Args:
        chosen: Whether the data set was chosen, instead of being the checkpoint's own.
        config: The configuration, whose ``data`` is complete.
        subject: The network.
        given: Keys such as ``data.crop_size`` that a person gave a value, which counts.

    Returns:
        Options of the data module that replace configured ones.

    Raises:
        UserError: If the library has no such network.
    """
    if not chosen or (subject.checkpoint is None and config.classifier is None):
        return _with_room({}, config)
    if subject.checkpoint is not None:
        options = _trained_input(config, subject.checkpoint, given)
        names = subject.checkpoint.class_names
    else:
        options = _library_colors(config, given)
        names = library_class_names(str(config.classifier)) or []
        if config.num_classes not in (None, len(names)):
            names = []  # a network of the library's that was trained on other classes
    if has_function(config):
        names = []  # a label is the index of a score
    if names and "data.known_classes" not in given and config.data.known_classes is None:
        options["known_classes"] = list(names)
    return _with_room(options, config)


def _trained_input(
    config: DictConfig, checkpoint: Checkpoint, given: Collection[str]
) -> dict[str, Any]:
    """Find how a checkpoint wants its images; tell what differs from the configuration."""
    trained, options = checkpoint.config.data, {}
    for key in _INPUT:
        if trained.get(key) != config.data[key] and f"data.{key}" not in given:
            options[key] = trained.get(key)
    _tell(options, str(checkpoint.path))
    return options


def _with_room(options: dict[str, Any], config: DictConfig) -> dict[str, Any]:
    """Add a size of training images, which evaluation has none of, that the crops fit into."""
    crop = Size.of(options.get("crop_size", config.data.crop_size))
    resize = Size.of(config.data.resize_size)
    room = Size(max(crop.height, resize.height), max(crop.width, resize.width))
    return options if room == resize else options | {"resize_size": room.plain}


def _library_colors(config: DictConfig, given: Collection[str]) -> dict[str, Any]:
    """Find how a library's weights want colors normalized, where that differs."""
    own = library_input(str(config.classifier))
    found = {key: getattr(own, key) for key in _COLORS if f"data.{key}" not in given}
    options = {k: v for k, v in found.items() if v is not None and v != list(config.data[k])}
    _tell(options, str(config.classifier))
    return options


def _tell(options: dict[str, Any], trained: str) -> None:
    if options and rank_zero_only.rank == 0:
        values = " ".join(f"data.{key}={value}" for key, value in options.items())
        print(f"data: {values}, as {trained} was trained", file=sys.stderr)
