"""Options of a data set that the explained network, trained on another one, decides."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from learned_saliency.datamodules import COLORS, Size
from learned_saliency.pipeline.cli import UserError, has_network
from learned_saliency.pipeline.runs import (
    Checkpoint,
    Subject,
    channels_of,
    has_function,
    library_class_names,
    library_input,
)

_COLOR_FILES = {"channels": COLORS, "array_axes": "hwc"}  # runs of before have no such keys
_INPUT = ("mean", "std", "crop_size", "center_crop", "evaluation_resize")
_COLORS = ("mean", "std")
_CHANNELS = ("channels", "array_axes", "shown_channels")


def with_channels(
    chosen: bool, config: DictConfig, subject: Subject, given: Collection[str] = ()
) -> DictConfig:
    """Set the channels of another data set to those that a checkpoint was trained on.

    Args:
        chosen: See `trained_options`.
        config: The configuration, whose ``data`` is complete.
        subject: The network.
        given: See `trained_options`.

    Raises:
        UserError: If another number of channels is given, or none are known by which images of a
            foreign network are normalized.
    """
    checkpoint, data = subject.checkpoint, config.data
    if checkpoint is not None and chosen:
        trained = channels_of(checkpoint.config.data)
        if "data.channels" in given and channels_of(data) != trained:
            raise UserError(
                f"data.channels={data.channels}: {checkpoint.path} was trained on images of "
                f"{trained} channels; leave it out."
            )
        config = config.copy()
        for key in _CHANNELS:
            if f"data.{key}" not in given and key in config.data:
                config.data[key] = checkpoint.config.data.get(key, _COLOR_FILES.get(key))
    elif checkpoint is None and data.get("mean", ()) is None:
        if not has_network(config):  # maps alone, for which nothing is normalized
            config = config.copy()
            config.data.mean, config.data.std = ([v] * channels_of(data) for v in (0.0, 1.0))
            return config
        raise UserError(
            f"data.mean has no value: give data.mean and data.std of each of {data.channels} "
            "channels, as the network was trained with; a checkpoint of this project knows its own."
        )
    return config


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
    if channels_of(config.data) != COLORS:
        return {}
    own = library_input(str(config.classifier))
    found = {key: getattr(own, key) for key in _COLORS if f"data.{key}" not in given}
    options = {k: v for k, v in found.items() if v is not None and v != list(config.data[k])}
    _tell(options, str(config.classifier))
    return options


def _tell(options: dict[str, Any], trained: str) -> None:
    if options and rank_zero_only.rank == 0:
        values = " ".join(f"data.{key}={value}" for key, value in options.items())
        print(f"data: {values}, as {trained} was trained", file=sys.stderr)
