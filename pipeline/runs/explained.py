"""Networks that evaluate.py and predict.py explain: trained models, or classifiers post hoc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from learned_saliency.attribution import (
    LayerError,
    OutputError,
    ScoredClassifier,
    SplitClassifier,
)
from learned_saliency.errors import MendableError
from learned_saliency.pipeline.cli import UserError, check_subject, first_sentence, has_network
from learned_saliency.pipeline.runs.build import channels_of
from learned_saliency.pipeline.runs.checkpoints import Checkpoint, load_module, read_checkpoint
from learned_saliency.pipeline.runs.input import declared_size
from learned_saliency.pipeline.runs.targets import has_function, target_function
from learned_saliency.pipeline.runs.third_party import (
    PlainLogits,
    build_classifier,
    third_party_network,
    told_activation,
)
from learned_saliency.trainers import NATIVE, MapsModule, PostHocModule, SaliencyModule

_OF_FOREIGN = (
    "weights",
    "layer",
    "layer_layout",
    "num_classes",
    "activation",
    "class_names",
)  # keys that a checkpoint knows


class Subject(NamedTuple):
    """The network that a command explains.

    Attributes:
        checkpoint: The checkpoint of this project that holds the network; None for a foreign one.
        native: Whether the network's trained map counts, as with ``checkpoint=...``; with
            ``classifier=...`` the classifier alone counts.
    """

    checkpoint: Checkpoint | None
    native: bool


def read_subject(config: DictConfig, program: str, named: str | nn.Module | None = None) -> Subject:
    """Read the checkpoint that ``checkpoint`` or ``classifier`` names, if it is this project's.

    Args:
        config: Configuration with ``checkpoint``, or ``classifier`` with ``weights``, ``layer``,
            ``num_classes``, ``box_threshold`` and, where the command has it, ``class_names``.
        program: Name of the command, for a message.
        named: See `Checkpoint.named`; by default what ``classifier`` says beside ``checkpoint``.

    Raises:
        UserError: If neither or both are given, the checkpoint cannot be read, a key is given that
            a checkpoint brings itself, or ``target`` is a function for a map of classes.
    """
    check_subject(config, program)
    native = config.checkpoint is not None
    if native and has_function(config):
        raise UserError(
            f"target={config.target}: the scores of a function are no classes, which the map of a "
            f"trained model explains; explain its classifier alone, classifier={config.checkpoint}."
        )
    path = config.checkpoint if native else config.classifier
    if not native and not os.path.exists(os.path.expanduser(path)):
        return Subject(None, native)
    for key in _OF_FOREIGN:
        if config.get(key) is not None:
            raise UserError(
                f"{key}={config[key]}: leave it out, {path} is a checkpoint of this project, which "
                "brings its own."
            )
    if native and named is None:
        named = config.classifier
    return Subject(read_checkpoint(path, "best.ckpt", named), native)


def subject_record(config: DictConfig) -> dict[str, str]:
    """Return the keys that name the network, those with a value."""
    named = {key: config[key] for key in ("checkpoint", "classifier", "weights", "layer")}
    return {key: str(value) for key, value in named.items() if value is not None}


def build_explained(
    config: DictConfig, subject: Subject, names: Iterable[str], **options: Any
) -> SaliencyModule:
    """Build the module that explains a network, with its weights and the box threshold given.

    Args:
        config: The configuration given to `read_subject`.
        subject: The result of `read_subject`.
        names: Names of the methods that the user asked for.
        **options: Options of the `SaliencyModule`; ``methods`` are the post-hoc methods among the
            names. With ``given`` maps there need be none, nor a network.

    Raises:
        UserError: If the weights do not fit, the trained map is asked for of a network that has
            none, or no method is left.
    """
    module = _build(config, subject, names, **options)
    if config.box_threshold is not None:
        module.box_threshold.fill_(config.box_threshold)
    return module


def _build(
    config: DictConfig, subject: Subject, names: Iterable[str], **options: Any
) -> SaliencyModule:
    if subject.native:
        return load_module(subject.checkpoint, **options)
    if NATIVE in names:
        remedy = "has none" if subject.checkpoint is None else "counts as a classifier here"
        raise UserError(
            f"methods: '{NATIVE}' is the map of a trained model; {config.classifier} {remedy}."
        )
    if not options["methods"] and not options.get("given"):
        raise UserError("methods: name at least one method.")
    if not has_network(config):
        return MapsModule(**options)
    if subject.checkpoint is None and not options["methods"] and config.layer is None:
        channels = channels_of(config.get("data") or config.input)
        named = config.classifier, config.num_classes, config.weights
        network = third_party_network(*named, channels)
        activation = told_activation(config, network)
        classifier = PlainLogits(network, activation).eval()  # nothing of it is explained here
    elif subject.checkpoint is None:
        classifier = build_classifier(config)
    else:
        classifier = load_module(subject.checkpoint).classifier
        outputs = target_function(config)
        classifier = classifier if outputs is None else ScoredClassifier(classifier, outputs)
    return PostHocModule(classifier=classifier, **options)


def try_methods(
    module: SaliencyModule,
    images: Tensor,
    names: Sequence[str] | None = None,
    what: str = "input",
    key: str = "methods",
) -> int:
    """Run every method once, so that a misfit to the classifier shows before the long run.

    Args:
        module: The module; set to evaluation mode.
        images: Normalized images of shape (B, 3, H, W) on its device.
        names: Names of the methods; None for all.
        what: Name of the images in a message.
        key: Key that names methods, in a message.

    Returns:
        The number of classes that the classifier knows.

    Raises:
        UserError: If a method does not fit; the error names the method.
    """
    module.eval()
    foreign = isinstance(module.classifier, SplitClassifier)
    logits = None
    chosen = module.methods if names is None else names
    for tried in [[], *([name] for name in chosen if name != NATIVE)]:
        try:
            with torch.no_grad():
                if foreign and not tried:
                    module.classifier(images)  # as it is: errors of its halves say less
                logits = module.maps(images, None, tried)[1]
        except MendableError:
            raise
        except Exception as error:  # a foreign network may raise anything
            if not foreign and not isinstance(error, ValueError):
                raise
            raise UserError(_misfit(module, images, tried, what, key, error)) from None
    return logits.shape[1]


def _misfit(
    module: SaliencyModule,
    images: Tensor,
    tried: list[str],
    what: str,
    key: str,
    error: Exception,
) -> str:
    """Say in one sentence what failed, and the remedy as far as it is known."""
    reason = first_sentence(error)
    if isinstance(error, LayerError):
        return f"layer={module.classifier.layer}: {reason} (layer_layout=...)."
    if tried:
        return f"{key}: '{tried[0]}' does not fit this classifier: {reason}."
    if isinstance(error, OutputError):
        return f"{'classifier' if module.has_classes else 'target'}: {reason}."
    height, width = images.shape[2:]
    given = f"{images.shape[1]} channels and {height} x {width} pixels"
    remedy = ""
    if isinstance(module.classifier, SplitClassifier):
        size = declared_size(module.classifier.model)
        named = {"input": "input.size", "data": "data.crop_size"}[what]
        declared = "" if size is None else f"it declares the size {size}: "
        remedy = f"; {declared}choose by {named}=..."
        key = {"input": "input.channels", "data": "data.channels"}[what]
        remedy += f", and {key}=... where the network takes another number of channels"
    return f"the {what}, images of {given}, does not fit this classifier: {reason}{remedy}."
