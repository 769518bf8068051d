"""Networks from outside this project, by their names."""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
import torchvision
from omegaconf import DictConfig
from timm.data import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from learned_saliency.attribution import LAYOUTS, SplitClassifier, find_logits, split
from learned_saliency.datamodules import COLORS
from learned_saliency.models import adapt_first_layer, find_first_layer, with_channels
from learned_saliency.ops import Activation, activation_of
from learned_saliency.pipeline.cli import (
    LIBRARIES,
    LIBRARY_WEIGHTS,
    UserError,
    check_classifier,
    first_sentence,
    is_own_code,
    nearest,
)
from learned_saliency.pipeline.runs.build import channels_of
from learned_saliency.pipeline.runs.targets import target_function
from learned_saliency.pipeline.runs.weights import check_finite, fit_state_dict, read_weights
from learned_saliency.trainers import TASKS


def build_classifier(config: DictConfig) -> SplitClassifier:
    """Build the classifier of ``classifier``, ``weights``, ``num_classes`` and ``layer``.

    A function that ``target`` names makes scores of what the network returns.

    Raises:
        UserError: If one of these values is wrong or does not fit the others.
    """
    outputs = target_function(config)
    channels = channels_of(config.get("data") or config.input)
    network = third_party_network(config.classifier, config.num_classes, config.weights, channels)
    check_layer_named(config, network)
    options = {"layout": config.layer_layout, "activation": told_activation(config, network)}
    try:
        return split(network.eval(), config.layer, outputs=outputs, **options)
    except ValueError as error:
        raise UserError(f"layer={config.layer}: {error}") from None


def told_activation(config: DictConfig, network: nn.Module) -> Activation:
    """Find the function of a network's logits to probabilities.

    It is what ``activation`` says, else what the network declares, see `ops.Activation`, else that
    of the data set's task, if there is one.
    """
    if config.activation is not None:
        return Activation(config.activation)
    own = activation_of(network)
    task = TASKS[(config.get("data") or {}).get("task", "multiclass")]
    return task.activation if own is Activation.SOFTMAX else own


def check_layer_named(config: DictConfig, network: nn.Module) -> None:
    """Check that ``layer`` has a value, and ``layer_layout`` one that exists.

    Raises:
        UserError: If not; the message names layers of the network.
    """
    if config.layer is None:
        names = ", ".join(name for name, _ in network.named_children())
        raise UserError(
            f"layer has no value: name the layer to explain, one of {names} or within these "
            "(features.12)."
        )
    layout = config.layer_layout
    if layout is not None and layout not in LAYOUTS:
        raise UserError(f"layer_layout={layout}: it must be one of {', '.join(LAYOUTS)}.")


def third_party_network(
    classifier: str, num_classes: int | None, weights: str | None, channels: int = COLORS
) -> nn.Module:
    """Build a network by its name, with its weights.

    Args:
        classifier: ``torchvision:NAME``, ``timm:NAME`` or ``MODULE:FUNCTION``.
        num_classes: Number of classes; None takes the architecture's own number.
        weights: A file of weights, ``"default"`` for the library's own, or None for random weights;
            of ``MODULE:FUNCTION`` for those that the network comes with.
        channels: Number of channels of the images: a library's network is adapted to them, with its
            weights; code of one's own has to take them.

    Raises:
        UserError: If an argument is wrong or does not fit the others.
    """
    network = create_network(classifier, num_classes, weights == LIBRARY_WEIGHTS, channels)
    if weights is None and not is_own_code(classifier):
        warnings.warn(
            f"{classifier} has random weights: give weights=FILE, or "
            f"weights={LIBRARY_WEIGHTS} for those of the library.",
            stacklevel=2,
        )
    elif weights not in (None, LIBRARY_WEIGHTS):
        load_into(network, Path(weights).expanduser())
    return network


class PlainLogits(nn.Module):
    """A network whose output is brought to logits (B, C), see `attribution.find_logits`.

    Args:
        network: Network of images (B, 3, H, W).
        activation: Function of the logits to probabilities.
    """

    def __init__(self, network: nn.Module, activation: Activation = Activation.SOFTMAX) -> None:
        super().__init__()
        self.network, self.activation = network, activation

    def forward(self, images: Tensor) -> Tensor:
        """Classify images of shape (B, 3, H, W): logits of shape (B, C)."""
        return find_logits(self.network(images), len(images), self.activation)


def check_library_network(classifier: str) -> None:
    """Check that a library has the network of a name, without building it.

    Args:
        classifier: See `third_party_network`; of ``MODULE:FUNCTION`` nothing is checked.

    Raises:
        UserError: If the library has no such network.
    """
    library, _, name = classifier.partition(":")
    if library == "torchvision":
        known = torchvision.models.list_models(module=torchvision.models)
    elif library == "timm":
        known, name = timm.list_models(), name.partition(".")[0]  # resnet50.a1_in1k
    else:
        return
    if name not in known:
        raise UserError(
            f"classifier={classifier}: {library} has no such network{nearest(name, known)}."
        )


def library_class_names(classifier: str) -> list[str] | None:
    """Names of the classes that a library's own weights of a network tell apart.

    Args:
        classifier: See `third_party_network`.

    Returns:
        A different name for each class, in their order; None where the library knows none.
    """
    library, _, name = classifier.partition(":")
    if library == "torchvision":
        weights = torchvision.models.get_model_weights(name)
        names = weights.DEFAULT.meta.get("categories") if len(weights) else None
    elif library == "timm":
        subset = infer_imagenet_subset(pretrained_facts(name))
        known = ImageNetInfo(subset) if subset else None
        # The first of several synonyms: "tench, Tinca tinca".
        names = known and [
            known.index_to_description(i).partition(",")[0] for i in range(known.num_classes())
        ]
    else:
        return None
    return _unique(names) if names else None


def pretrained_facts(name: str) -> dict[str, Any]:
    """Return what timm knows of the pretrained weights of a network; nothing where it has none."""
    found = timm.get_pretrained_cfg(name)
    return found.to_dict() if found is not None else {}


def _unique(names: Sequence[str]) -> list[str]:
    """Names with their numbers behind those that occur more than once."""
    often = Counter(names)
    return [f"{name} ({i})" if often[name] > 1 else name for i, name in enumerate(names)]


def create_network(
    classifier: str, num_classes: int | None, own_weights: bool = False, channels: int = COLORS
) -> nn.Module:
    """Build a network by its name, with random weights or those of its library.

    Raises:
        UserError: If it does not exist, or does not take this number of classes.
    """
    library, _, name = classifier.partition(":")
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    check_classifier(classifier)
    if library not in LIBRARIES:
        network = _create_own(library, name, options)
        _check_own_channels(network, classifier, channels)
        return network
    check_library_network(classifier)
    try:
        if library == "timm":
            options |= {} if channels == COLORS else {"in_chans": channels}
            return timm.create_model(name, pretrained=own_weights, **options)
        weights = "DEFAULT" if own_weights else None
        network = torchvision.models.get_model(name, weights=weights, **options)
        adapt_first_layer(network, channels)
        return network
    except Exception as error:  # no network, no such weights, no fit; each has errors of its own
        raise UserError(f"classifier={classifier}: {_reason(error)}.") from None


def _reason(error: Exception) -> str:
    return f"{first_sentence(error)} ({type(error).__name__})"


def _create_own(module: str, function: str, options: dict[str, Any]) -> nn.Module:
    try:
        network = getattr(importlib.import_module(module), function)(**options)
    except Exception as error:  # the module's own
        raise UserError(f"classifier={module}:{function}: {_reason(error)}.") from None
    if not isinstance(network, nn.Module):
        raise UserError(
            f"classifier={module}:{function}: returns {type(network).__name__}, not an nn.Module."
        )
    return network


def _check_own_channels(network: nn.Module, classifier: str, channels: int) -> None:
    """Check that a network of one's own, which stays as it is, reads images of so many channels."""
    with suppress(ValueError):
        _, layer = find_first_layer(network)
        if channels != COLORS and layer.in_channels != channels:
            raise UserError(
                f"classifier={classifier}: reads images of {layer.in_channels} channels, not of "
                f"{channels}; let the function return a network that takes {channels}, or choose "
                f"data.channels={layer.in_channels} (input.channels in predict.py and export.py)."
            )


def load_into(network: nn.Module, path: Path, key: str = "weights") -> None:
    """Load a file of weights into a network.

    Raises:
        UserError: If the file cannot be read or is of another network; the message names the key.
    """
    label, content = f"{key}={path}", read_weights(path, f"{key}={path}")
    with suppress(ValueError):  # a network without convolutions is not adapted
        content = with_channels(content, network.state_dict(), [find_first_layer(network)[0]])
    network.load_state_dict(fit_state_dict(content, network.state_dict(), label))
    check_finite(dict(network.named_parameters()), label)
