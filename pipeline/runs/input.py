"""Input that a network from outside was trained with: size, colors, and names of its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torchvision
from omegaconf import DictConfig
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from learned_saliency.datamodules import COLORS, Size
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs.third_party import (
    check_library_network,
    library_class_names,
    pretrained_facts,
)

_SHARE = 224 / 256  # side of a crop over the side of the image, where a network does not say it


class OwnInput(NamedTuple):
    """Input of a network, as far as it or its library declares it; None for what is not declared.

    Attributes:
        crop_size: Side of the images in pixels, or height and width.
        resize_size: Likewise of images before a crop in training.
        mean: Mean of each color channel, in [0, 1].
        std: Standard deviation of each color channel, above 0.
        class_names: Names of the classes.
    """

    crop_size: int | list[int] | None = None
    resize_size: int | list[int] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    class_names: list[str] | None = None


def own_input(classifier: str, network: nn.Module) -> OwnInput:
    """Find the input that a network was trained with.

    torchvision's weights declare it, and timm's networks do in ``default_cfg``; a network of one's
    own may have such a ``default_cfg``, or an ``image_size`` in pixels, a number or height and
    width.

    Args:
        classifier: See `third_party_network`.
        network: The network.
    """
    if classifier.partition(":")[0] == "torchvision":
        declared = library_input(classifier)
    elif isinstance(getattr(network, "default_cfg", None), Mapping):
        declared = _of_timm(network.default_cfg)
    else:
        declared = _of_size(declared_size(network))
    return declared._replace(class_names=library_class_names(classifier))


def declared_size(network: nn.Module) -> Size | None:
    """Find the size of images that a network is made for; None where it does not say it.

    timm's networks have it in ``default_cfg``, torchvision's vision transformers in ``image_size``.
    """
    facts = getattr(network, "default_cfg", None)
    if isinstance(facts, Mapping):
        return _of_shape(facts.get("input_size"))
    size = getattr(network, "image_size", None)
    if isinstance(size, int):
        return Size.of(size)
    pair = isinstance(size, list | tuple) and len(size) == 2
    return Size.of(size) if pair and all(isinstance(side, int) for side in size) else None


def library_input(classifier: str) -> OwnInput:
    """Find the input that a library's weights of a network were trained with, without building it.

    Args:
        classifier: See `third_party_network`; of ``MODULE:FUNCTION`` nothing is known.

    Raises:
        UserError: If the library has no such network.
    """
    check_library_network(classifier)
    library, _, name = classifier.partition(":")
    if library == "torchvision":
        return _of_torchvision(name)
    return _of_timm(pretrained_facts(name)) if library == "timm" else OwnInput()


def foreign_input(config: DictConfig) -> dict[str, Any]:
    """Complete ``input`` for the network that ``classifier`` names: size, colors and the rest.

    Colors that are not given are those of the library's weights, ImageNet's where none are known.
    Of another number of channels nothing is known.

    Raises:
        UserError: If the library has no such network, or mean and standard deviation are not of
            each channel.
    """
    own = library_input(config.classifier)
    given = dict(config.input)
    channels = given["channels"]
    for key, known in (
        ("mean", own.mean or IMAGENET_DEFAULT_MEAN),
        ("std", own.std or IMAGENET_DEFAULT_STD),
    ):
        if given[key] is None and channels != COLORS:
            raise UserError(
                f"input.{key} has no value: give it for each of input.channels={channels} channels."
            )
        given[key] = list(given[key] or known)
        if len(given[key]) != channels:
            raise UserError(
                f"input.{key}={given[key]}: expected a number for each of input.channels="
                f"{channels} channels."
            )
    return given


def foreign_names(config: DictConfig, names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Name the classes of the network that ``classifier`` names.

    Args:
        config: Its ``classifier``.
        names: The names that the user gives; None for those of its library where their number
            agrees, else the numbers of the classes.
        num_classes: Number of classes that the network knows.

    Raises:
        UserError: If other than ``num_classes`` names are given.
    """
    if names is None:
        known = library_class_names(config.classifier) or []
        return known if len(known) == num_classes else list(map(str, range(num_classes)))
    if len(names) != num_classes:
        raise UserError(
            f"there are {len(names)} class names, but the classifier knows {num_classes} classes."
        )
    return list(names)


def _of_torchvision(name: str) -> OwnInput:
    weights = torchvision.models.get_model_weights(name)
    if not len(weights):
        return OwnInput()
    preset: Any = weights.DEFAULT.transforms()
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    return OwnInput(crop, max(resize, crop), list(preset.mean), list(preset.std))


def _of_timm(facts: Mapping[str, Any]) -> OwnInput:
    found = _of_size(_of_shape(facts.get("input_size")), facts.get("crop_pct"))
    mean, std = facts.get("mean"), facts.get("std")
    return found._replace(mean=mean and list(mean), std=std and list(std))


def _of_shape(shape: Sequence[int] | None) -> Size | None:
    return None if shape is None else Size.of(shape[-2:])


def _of_size(size: Size | None, share: float | None = None) -> OwnInput:
    if size is None:
        return OwnInput()
    larger = Size(*(max(side, math.floor(side / (share or _SHARE))) for side in size))
    return OwnInput(size.plain, larger.plain)
