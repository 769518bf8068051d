"""Classifier that a training is built on: a run's, or a network from outside, frozen as it is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import get_class
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import nn

from learned_saliency.attribution import LeveledClassifier
from learned_saliency.datamodules import COLORS, Size, WSOLDataModule
from learned_saliency.pipeline.cli import (
    FIRST_STAGE_GROUP,
    UserError,
    first_sentence,
    is_library_network,
    is_network,
    module_paths,
    printable,
    values,
)
from learned_saliency.pipeline.runs import (
    FIRST_STAGE,
    Checkpoint,
    OwnInput,
    build_given,
    build_method,
    channels_of,
    check_finite,
    fit_state_dict,
    given_part,
    given_stage,
    load_network,
    method_names,
    own_input,
    read_checkpoint,
    read_weights,
    rebuild_given,
    third_party_network,
)
from learned_saliency.pipeline.training.checks import check_contract
from learned_saliency.trainers import NATIVE, SaliencyModule

_OF_NETWORK = ("weights", "layer", "layer_layout", "levels", "num_classes")  # keys beside its name
_SIZES = ("crop_size", "resize_size")


class FoundClassifier(NamedTuple):
    """Classifier of a training.

    Attributes:
        config: The configuration, which describes the classifier as its first stage.
        network: The network; None where the training makes it, or its checkpoint describes it.
        checkpoint: Checkpoint that it comes from.
    """

    config: DictConfig
    network: nn.Module | None = None
    checkpoint: Checkpoint | None = None

    @property
    def given(self) -> LeveledClassifier | None:
        """The network, if it is from outside."""
        return self.network if isinstance(self.network, LeveledClassifier) else None

    def check_classes(self, data: WSOLDataModule) -> None:
        """Check that a network from outside has as many classes as the data set.

        Raises:
            UserError: If it has not.
        """
        given = self.given
        if given is not None and given.num_classes != data.num_classes:
            raise UserError(
                f"classifier={self.config.classifier}: knows {given.num_classes} classes, "
                f"but the data set in {data.metadata} has {data.num_classes}; "
                "data.known_classes=FILE with the names of the former translates labels to them by "
                "name."
            )


def find_classifier(
    config: DictConfig, resumed: Checkpoint | None = None, named: Collection[str] = ()
) -> FoundClassifier:
    """Find the classifier that ``classifier`` names, with its weights.

    Args:
        config: The configuration.
        resumed: Checkpoint of a run that goes on, which holds the classifier.
        named: Keys that the user has given; of other keys of a network from outside its own values
            count.

    Raises:
        UserError: If a key, the checkpoint, the network or its weights do not fit.
    """
    if resumed is not None:
        return FoundClassifier(config, _resumed(config, resumed))
    word = None if config.classifier is None else str(config.classifier)
    if word is not None and FIRST_STAGE_GROUP in named:
        raise UserError("first_stage=...: classifier=... is trained already; leave one out.")
    if word is not None and is_network(word):
        return _from_outside(config, word, named)
    for key in _OF_NETWORK:
        if config[key] is not None:
            what = f"{word} brings its own" if word else "there is no classifier=timm:NAME"
            raise UserError(f"{key}={config[key]}: leave it out, {what}.")
    if networks := _pool(config):
        raise UserError(
            f"model.pool.networks={networks[0]}: goes with a given network, classifier=timm:NAME; "
            "a classifier of this project fills its pool itself."
        )
    if word is None:
        return FoundClassifier(config)
    given = _of_run(config)
    network = load_network(given)
    check_contract(config, given, network)
    if _is_unlabeled(config):
        config = _with_known_classes(config, given.class_names, named)
    return FoundClassifier(_with_first_stage(config, given.model), network, given)


def _resumed(config: DictConfig, resumed: Checkpoint) -> nn.Module | None:
    """Build the network again that is code of the user's, who has named it."""
    word = None if given_part(config.model) is None else str(config.classifier)
    own = None if word is None or is_library_network(word) else word
    try:
        return rebuild_given(config.model, resumed.num_classes, own)
    except UserError as error:
        raise UserError(f"resume={resumed.path}: {str(error).rstrip('.')}.") from None


def _of_run(config: DictConfig) -> Checkpoint:
    """Read the checkpoint that ``classifier`` names; check that it has the configured backbone."""
    if FIRST_STAGE not in config.model:
        raise UserError(f"classifier=... is given, but model={config.model.name} is built on none.")
    given = read_checkpoint(config.classifier, "best.ckpt")
    of_training = dict.fromkeys(("pretrained", "frozen", "trainable"))
    theirs, ours = (
        {"in_chans": COLORS, **c.backbone, **of_training} for c in (given.config, config)
    )
    if theirs["in_chans"] != ours["in_chans"]:
        raise UserError(
            f"classifier={given.path}: takes images of {theirs['in_chans']} channels, not of "
            f"{ours['in_chans']}; choose data.channels={theirs['in_chans']}, or train a classifier "
            "of these images first."
        )
    wrong = [key for key in theirs | ours if theirs.get(key) != ours.get(key)]
    if wrong:
        own = " ".join(f"backbone.{key}={theirs.get(key)}" for key in wrong if key in theirs)
        size = Size.of(given.config.data.crop_size)
        remedy = f" (it was trained with data.crop_size={size})" if "img_size" in wrong else ""
        raise UserError(
            f"classifier={given.path}: has another backbone than the configured "
            f"{config.backbone.name}, with {own or 'fewer settings'}{remedy}: choose the same "
            "backbone=..."
        )
    return given


def _with_first_stage(config: DictConfig, model: DictConfig) -> DictConfig:
    """Copy the configuration with the given classifier, so that checkpoints can be read back."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config.model[FIRST_STAGE] = model
    return config


def _from_outside(config: DictConfig, word: str, named: Collection[str]) -> FoundClassifier:
    """Build a network from outside and take over what it was trained with."""
    module: type[SaliencyModule] = get_class(config.model.module._target_)
    if module.for_given is None:
        raise UserError(
            f"classifier={word}: model={config.model.name} cannot learn a map for a given network "
            f"that stays as it is; {_able()}."
        )
    for key in sorted(named):
        if key.partition(".")[0] == "backbone":
            raise UserError(f"{key}: leave it out, classifier={word} is a whole network.")
    channels = channels_of(config.data)
    network = third_party_network(word, config.num_classes, config.weights, channels)
    own = own_input(word, network)
    if not config.resume:  # else the record of the run has them
        config = _with_own_input(config, own, named)
        config = _with_needed(config, module.for_given, named)
    classifier = build_given(config, network)
    if not config.resume:
        config = _with_classes(config, own, classifier, named)
    _check_pool(config, classifier)
    _say(config, classifier)
    _try_methods(config, classifier)
    return FoundClassifier(_with_first_stage(config, given_stage(config, classifier)), classifier)


def _able() -> str:
    """Name the models that learn maps for given networks, as their modules declare it."""
    paths = module_paths().items()
    *names, last = [name for name, path in paths if get_class(path).for_given is not None]
    return f"model={', '.join(names)} and {last} can"


def _with_own_input(config: DictConfig, own: OwnInput, named: Collection[str]) -> DictConfig:
    """Copy the configuration with the network's own size and colors, where the user gave none."""
    config = config.copy()
    colors = ("mean", "std") if channels_of(config.data) == COLORS else ()
    for key in (*_SIZES, *colors):
        value, given = getattr(own, key), config.data[key]
        other = value is not None and values(given) != values(value)
        if not other or (key in _SIZES and "data.crop_size" in named and key != "crop_size"):
            continue
        if f"data.{key}" in named:
            warnings.warn(
                f"data.{key}={given} is used, although {config.classifier} was trained with "
                f"{value}.",
                stacklevel=2,
            )
        else:
            config.data[key] = value
    return config


def _with_needed(
    config: DictConfig, needed: Mapping[str, Any], named: Collection[str]
) -> DictConfig:
    """Copy the configuration with the values that a frozen network leaves as the only ones.

    Raises:
        UserError: If the user has given another one.
    """
    config = config.copy()
    for key, value in needed.items():
        if f"model.{key}" in named and config.model[key] != value:
            raise UserError(
                f"model.{key}={config.model[key]}: needs a classifier that is trained too, but "
                f"classifier={config.classifier} stays as it is: model.{key}={value}."
            )
        config.model[key] = value
    return config


def _with_classes(
    config: DictConfig, own: OwnInput, classifier: LeveledClassifier, named: Collection[str]
) -> DictConfig:
    """Copy the configuration with the names of the network's classes, which labels are found by."""
    names = own.class_names
    if names is None or len(names) != classifier.num_classes:
        if not _is_unlabeled(config) or "data.num_classes" in named:
            return config
        config = config.copy()
        config.data.num_classes = classifier.num_classes
        return config
    return _with_known_classes(config, names, named)


def _is_unlabeled(config: DictConfig) -> bool:
    """Tell whether the data set consists of images without labels."""
    reader = config.data.get("reader")
    return reader is not None and getattr(get_class(reader._target_), "unlabeled", False)


def _with_known_classes(
    config: DictConfig, names: Sequence[str], named: Collection[str]
) -> DictConfig:
    """Copy the configuration with the classes of a classifier, unless the user has given some."""
    given = "data.known_classes" in named or config.data.get("known_classes") is not None
    if given or "known_classes" not in config.data or config.resume:
        return config
    config = config.copy()
    config.data.known_classes = list(names)
    return config


def _pool(config: DictConfig) -> list[str]:
    """List the files of further networks that a method trains against."""
    return values((config.model.get("pool") or {}).get("networks") or [])


def _check_pool(config: DictConfig, classifier: LeveledClassifier) -> None:
    """Check that the files of further networks have weights of the given one's architecture."""
    for path in map(Path, _pool(config)):
        label = f"model.pool.networks={path}"
        wanted = classifier.model.state_dict()
        check_finite(fit_state_dict(read_weights(path.expanduser(), label), wanted, label), label)


def _say(config: DictConfig, classifier: LeveledClassifier) -> None:
    """Say in one line on stderr what the network is, and what it is fed with."""
    if rank_zero_only.rank != 0:
        return
    measured = "that of the training images"
    mean, std = (
        ", ".join(f"{value:g}" for value in config.data[key] or []) or measured
        for key in ("mean", "std")
    )
    levels = [level for level, *_ in classifier.description["levels"]]
    size = Size.of(config.data.crop_size)
    line = (
        f"classifier: {config.classifier}, {size} pixels, mean {mean}, std {std}, "
        f"{classifier.num_classes} categories; frozen; levels {', '.join([*levels, config.layer])}"
    )
    print(printable(line), file=sys.stderr)


def _try_methods(config: DictConfig, classifier: LeveledClassifier) -> None:
    """Run the post-hoc methods of a training once on noise, before the long run.

    Raises:
        UserError: If one does not fit the network; the message names another.
    """
    shape = 1, channels_of(config.data), *Size.of(config.data.crop_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    wanted = dict.fromkeys([*method_names(config), *values(config.model.pictures)])
    for name in wanted:
        if name == NATIVE or name not in config.attribution:
            continue  # which other checks refuse
        try:
            build_method(config, name)(classifier, images, torch.zeros(1).long())
        except ValueError as error:
            key = "methods" if name in method_names(config) else "model.pictures"
            key = "model.pseudo_labels" if config.model.get("pseudo_labels") == name else key
            raise UserError(
                f"{key}={name}: does not fit classifier={config.classifier} at "
                f"layer={config.layer}: {first_sentence(error)}; choose {key}=gradcam."
            ) from None
