"""Networks from outside this project on which saliency is trained, frozen as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.attribution import (
    LayerError,
    LeveledClassifier,
    LevelError,
    OutputError,
    described_levels,
    split_levels,
)
from learned_saliency.datamodules import COLORS, Size
from learned_saliency.pipeline.cli import UserError, first_sentence, is_library_network
from learned_saliency.pipeline.runs.build import FIRST_STAGE, channels_of
from learned_saliency.pipeline.runs.third_party import (
    check_layer_named,
    create_network,
)

GIVEN = "given"  # name of a first stage that is a network from outside
_TARGET = f"{__name__.rpartition('.')[0]}.given_network"


def given_network(
    *,
    classifier: str,
    num_classes: int,
    outputs: int | None,
    levels: Mapping[str, Any],
    channels: int = COLORS,
) -> LeveledClassifier:
    """Build a library's network with random weights, of what a run records about it.

    This is what a run's configuration names; code of a user's own is never imported for that.

    Args:
        classifier: ``torchvision:NAME`` or ``timm:NAME``.
        num_classes: Number of classes C.
        outputs: Number of classes that the network is asked for; None for its own.
        levels: See `LeveledClassifier.description`.
        channels: Number of channels of the images.

    Raises:
        ValueError: If the network does not exist or is no library's, or ``levels`` are not its own.
    """
    if not is_library_network(classifier):
        raise UserError(
            f"classifier={classifier}: is code of your own, which is imported only where you name "
            "it yourself"
        )
    network = create_network(classifier, outputs, channels=channels)
    return described_levels(network, OmegaConf.to_container(OmegaConf.create(levels)), num_classes)


def given_stage(config: DictConfig, classifier: LeveledClassifier) -> DictConfig:
    """Describe a given network as the first stage of a model, so that checkpoints can be read.

    Args:
        config: Configuration with the keys ``classifier``, ``num_classes`` and ``data``.
        classifier: What `build_given` made of them.
    """
    network = {
        "_target_": _TARGET,
        "classifier": str(config.classifier),
        "outputs": config.num_classes,
        "levels": classifier.description,
    }
    if (channels := channels_of(config.data)) != COLORS:
        network["channels"] = channels
    return OmegaConf.create({"name": GIVEN, "epochs": 0, "network": network})


def given_part(model: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Find the description of a given network in a model's configuration; None without one."""
    network = (model.get(FIRST_STAGE) or {}).get("network") or {}
    return network if network.get("_target_") == _TARGET else None


def build_given(config: DictConfig, network: nn.Module) -> LeveledClassifier:
    """Cut a network for training at ``layer`` and ``levels``, and freeze it.

    Args:
        config: Configuration with ``classifier``, ``layer``, ``layer_layout``, ``levels`` and
            ``data.crop_size``.
        network: The network, with its weights.

    Raises:
        UserError: If a layer does not fit, or the network does not take images of this size.
    """
    check_layer_named(config, network)
    size, channels = Size.of(config.data.crop_size), channels_of(config.data)
    names = None if config.levels is None else list(config.levels)
    try:
        return split_levels(
            network,
            config.layer,
            names,
            size=size,
            channels=channels,
            layout=config.layer_layout,
        )
    except (LayerError, OutputError) as error:
        key = "layer"
        if isinstance(error, LevelError | OutputError):
            key = "levels" if isinstance(error, LevelError) else "classifier"
        raise UserError(f"{key}={config[key]}: {str(error).rstrip('.')}.") from None
    except Exception as error:  # the network's own
        if config.layer not in {name for name, _ in network.named_modules()}:
            raise UserError(f"layer={config.layer}: {error}.") from None
        kind = "RGB images" if channels == COLORS else f"images of {channels} channels"
        raise UserError(
            f"data.crop_size={size}: classifier={config.classifier} does not take {kind} of this "
            f"size: {first_sentence(error)}; choose the size that it was made for."
        ) from None


def rebuild_given(
    model: DictConfig, num_classes: int, named: str | nn.Module | None
) -> LeveledClassifier | None:
    """Build a run's given network again where it is code of the user's own.

    Args:
        model: The model's configuration.
        num_classes: Number of classes of the run.
        named: What the user names it by: ``MODULE:FUNCTION``, or the network itself.

    Returns:
        The network with weights of its own; None where `given_network` builds it.

    Raises:
        UserError: If it is named by another word or not at all, or is named though the run does
            not need it; the message ends a sentence that begins with the checkpoint's name.
    """
    part = given_part(model)
    word = None if part is None else str(part["classifier"])
    if word is None or is_library_network(word):
        if named is not None:
            raise UserError("was not trained on code of your own; leave classifier=... out")
        return None
    if named is None or (isinstance(named, str) and named != word):
        other = "" if named is None else f", and {named} is another name"
        raise UserError(
            f"was trained on a network of your own code, which is imported only where you name it "
            f"again: classifier={word}{other}"
        )
    own = isinstance(named, str)
    network = (
        create_network(word, part["outputs"], channels=channels_of(part))
        if own
        else copy.deepcopy(named)
    )
    levels = OmegaConf.to_container(OmegaConf.create(part["levels"]))
    try:
        return described_levels(network, levels, num_classes)
    except ValueError as error:
        raise UserError(f"was trained on another network: {error}") from None
