"""Networks that evaluate.py and predict.py explain: trained models, or classifiers post hoc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from learned_saliency.pipeline.cli import UserError, check_subject
from learned_saliency.pipeline.runs.checkpoints import Checkpoint, load_module, read_checkpoint
from learned_saliency.pipeline.runs.third_party import build_classifier
from learned_saliency.trainers import NATIVE, PostHocModule, SaliencyModule

_OF_FOREIGN = ("weights", "layer", "num_classes", "class_names")  # keys that a checkpoint knows


class Subject(NamedTuple):
    """The network that a command explains.

    Attributes:
        checkpoint: The checkpoint of this project that holds the network; None for a foreign one.
        native: Whether the network's trained map counts, as with ``checkpoint=...``; with
            ``classifier=...`` the classifier alone counts.
    """

    checkpoint: Checkpoint | None
    native: bool


def read_subject(config: DictConfig, program: str) -> Subject:
    """Read the checkpoint that ``checkpoint`` or ``classifier`` names, if it is this project's.

    Args:
        config: Configuration with ``checkpoint``, or ``classifier`` with ``weights``, ``layer``,
            ``num_classes``, ``box_threshold`` and, where the command has it, ``class_names``.
        program: Name of the command, for a message.

    Raises:
        UserError: If neither or both are given, the checkpoint cannot be read, or a key is given
            that a checkpoint brings itself.
    """
    check_subject(config, program)
    native = config.checkpoint is not None
    path = config.checkpoint if native else config.classifier
    if not native and not os.path.exists(os.path.expanduser(path)):
        return Subject(None, native)
    for key in _OF_FOREIGN:
        if config.get(key) is not None:
            raise UserError(
                f"{key}={config[key]}: leave it out, {path} is a checkpoint of this project, which "
                "brings its own."
            )
    return Subject(read_checkpoint(path, "best.ckpt"), native)


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
            names.

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
    if not options["methods"]:
        raise UserError("methods: name at least one method.")
    if subject.checkpoint is None:
        classifier = build_classifier(config)
    else:
        classifier = load_module(subject.checkpoint).classifier
    return PostHocModule(classifier=classifier, **options)


def try_methods(
    module: SaliencyModule, images: Tensor, names: Sequence[str] | None = None, what: str = "input"
) -> int:
    """Run every method once, so that a misfit to the classifier shows before the long run.

    Args:
        module: The module; set to evaluation mode.
        images: Normalized images of shape (B, 3, H, W) on its device.
        names: Names of the methods; None for all.
        what: Name of the images in a message.

    Returns:
        The number of classes that the classifier knows.

    Raises:
        UserError: If a method does not fit; the error names the method.
    """
    module.eval()
    logits = None
    for tried in [[], *([name] for name in names or module.methods if name != NATIVE)]:
        try:
            with torch.no_grad():
                logits = module.maps(images, None, tried)[1]
        except ValueError as error:
            part = f"methods: '{tried[0]}' does not fit" if tried else f"the {what} does not fit"
            raise UserError(f"{part} this classifier: {error}") from None
    return logits.shape[1]
