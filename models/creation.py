"""Creation of timm's networks with random or given weights, and the order of their layers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn

from learned_saliency.models.first_layer import COLORS, with_channels
from learned_saliency.storage import (
    FoundWeights,
    WeightsError,
    find_infinite,
    find_state_dict,
    fit_state_dict,
    read_weights,
)

_OF_EXTRACTORS = ("features_only", "out_indices")  # options of create_model, not of a network


def create(
    name: str,
    pretrained: bool | str,
    options: Mapping[str, Any],
    optional: Mapping[str, Any],
) -> tuple[nn.Module, dict[str, Any]]:
    """Create a network of timm; turn any error into one sentence that names the remedy.

    Args:
        name: Name in timm, with the tag of the weights or without.
        pretrained: True for timm's own weights, a path for a file of them, False for random ones.
        options: Arguments that the network has to know.
        optional: Further arguments, left out where the network does not know them. None of them
            is given to a network for ``None``.

    Returns:
        The network, and the arguments that it was made with.

    Raises:
        ValueError: If timm has no such network, no such weights or no such options for it, or if
            a file is missing, damaged or of another network.
        RuntimeError: If timm's weights cannot be loaded.
    """
    check_name(name)
    optional = {
        key: tuple(value) if isinstance(value, list) else value  # as timm's networks have it
        for key, value in optional.items()
        if value is not None
    }
    if pretrained is True:
        return _create_pretrained(name, options, optional)
    network, used = _create_random(name, options, optional)
    if pretrained:
        _load(network, name, Path(pretrained).expanduser(), used)
    return network, used


def of_channels(channels: int) -> dict[str, int]:
    """Return timm's option of a number of channels of the images; none for colors.

    Raises:
        ValueError: If there is no channel.
    """
    if channels < 1:
        raise ValueError(f"in_chans must be at least 1, got {channels}")
    return {} if channels == COLORS else {"in_chans": channels}


def check_name(name: str) -> None:
    """Raise a ValueError with the nearest names if timm lacks a network, or its weights."""
    if not timm.is_model(name):
        raise ValueError(f"timm has no network '{name}'.{_nearest(name, timm.list_models())}")
    architecture, _, tag = name.partition(".")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise ValueError(f"timm has no weights '{name}'.{_nearest(name, tagged)}")


def layer_order(network: nn.Module, name: str, used: Mapping[str, Any], coarse: bool) -> list[int]:
    """Number the layers that a network's parameters belong to, from the image on.

    timm groups them, as for its own layer-wise decay of learning rates: the stem is 0; fine groups
    are blocks, coarse ones stages where a network has stages.

    Args:
        network: Network or extractor made by `create`, whose layers may be wrapped since.
        name: Its name in timm.
        used: The arguments that `create` returned.
        coarse: Whether stages are numbered instead of blocks.

    Returns:
        A number for each of ``network.parameters()``, increasing by 1 from 0.

    Raises:
        ValueError: If timm does not group the parameters of this network.
    """
    whole = _whole(network, name, used)
    try:
        numbers = group_parameters(whole, whole.group_matcher(coarse=coarse), reverse=True)
    except (AttributeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"timm does not say how the layers of '{name}' follow each other, which trainable and "
            "layer_decay need"
        ) from error
    numbers = {_spelled(key): number for key, number in numbers.items()}
    found = []
    for key, _ in network.named_parameters():
        own = _spelled(key.removeprefix("model."))
        found.append(numbers[own] if own in numbers else numbers[own.replace("_block_", "_")])
    return _ranks(found, [weight.ndim for weight in network.parameters()])


def _ranks(numbers: list[int], dims: list[int]) -> list[int]:
    """Renumber layers from 0 on; a normalization alone counts to the layer before it."""
    ranks: dict[int, int] = {}
    for number in sorted(set(numbers)):
        has_weights = any(n == number and d > 1 for n, d in zip(numbers, dims, strict=True))
        last = max(ranks.values(), default=-1)
        ranks[number] = last + 1 if has_weights or not ranks else last
    return [ranks[number] for number in numbers]


def one_line(error: Exception) -> str:
    """Join the lines of an error's message."""
    return " ".join(str(error).split())


def _construct(
    name: str, pretrained: bool, options: Mapping[str, Any], optional: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """Create a network without the optional arguments that it does not know."""
    used = {**options, **optional}
    while True:
        try:
            return timm.create_model(name, pretrained=pretrained, **used), used
        except TypeError as error:
            unknown = [key for key in optional if key in used and f"'{key}'" in str(error)]
            if not unknown:
                raise
            used = {key: value for key, value in used.items() if key not in unknown}


def _create_random(
    name: str, options: Mapping[str, Any], optional: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    try:
        return _construct(name, False, options, optional)
    except TypeError as error:
        raise ValueError(f"Backbone '{name}' rejects an option: {one_line(error)}") from error
    except IndexError as error:
        if "out_indices" in options:
            raise ValueError(f"Backbone '{name}' has no levels {options['out_indices']}") from error
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        given = given.removeprefix("features_only=True, ")
        raise ValueError(f"Backbone '{name}' has more stages than {given} has values") from error
    except (RuntimeError, AttributeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = one_line(error)
        size = optional.get("img_size")
        if size is not None:
            _create_random(name, options, {**optional, "img_size": None})
            raise ValueError(
                f"Backbone '{name}' cannot be made for images of {size} pixels: {reason}"
            ) from error
        lacks = "has no multi-scale features" if "features_only" in options else "cannot be made"
        raise ValueError(f"Backbone '{name}' {lacks}: {reason}") from error


def _create_pretrained(
    name: str, options: Mapping[str, Any], optional: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    try:
        return _construct(name, True, options, optional)
    except Exception as error:  # each way of loading has errors of its own: network, cache, shapes
        _create_random(name, options, optional)  # raises where the weights are not to blame
        config = timm.get_pretrained_cfg(name)
        weights = config.hf_hub_id or config.url or name
        raise RuntimeError(
            f"The pretrained weights '{weights}' of backbone '{name}' could not be loaded: set "
            "backbone.pretrained=false or to a file of weights, or fill timm's cache first on a "
            f"machine with network access. The reason given: {one_line(error)}"
        ) from error


def _load(network: nn.Module, name: str, path: Path, used: Mapping[str, Any]) -> None:
    """Load a file of timm's whole network; names in an extractor may have underscores for dots."""
    own = network.state_dict()
    wanted = {key.removeprefix("model."): value for key, value in own.items()}
    try:
        content = with_channels(read_weights(path), wanted, _first_layers(name), _spelled)
        found = _fit(content, wanted, network, name, used)
    except WeightsError as error:
        raise ValueError(f"pretrained={path}: {error}; the network is '{name}'") from None
    if infinite := find_infinite(found.state):
        raise ValueError(
            f"pretrained={path}: its weights '{infinite[0]}' hold NaN or infinite numbers"
        )
    if found.report:
        warnings.warn(f"pretrained={path}: {found.report}.", stacklevel=2)
    network.load_state_dict({key: found.state[key.removeprefix("model.")] for key in own})


def _first_layers(name: str) -> list[str]:
    """Return the names of the layers that read the image, as timm knows them."""
    config = timm.get_pretrained_cfg(name)
    found = config.first_conv if config is not None else None
    return [found] if isinstance(found, str) else list(found or [])


def _fit(
    content: Any,
    wanted: Mapping[str, Tensor],
    network: nn.Module,
    name: str,
    used: Mapping[str, Any],
) -> FoundWeights:
    """Find a network's weights as they are, or as timm adapts them to the network.

    timm resamples positions and tables of relative positions that are made for images of another
    size, and renames those of the original authors' files.

    Raises:
        WeightsError: If the weights are not the network's.
    """
    try:
        return fit_state_dict(content, wanted, part=True, spelled=_spelled)
    except WeightsError:
        whole = _whole(network, name, used)
        adapt = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
        if adapt is None:
            raise
        given = find_state_dict(content)
        try:
            adapted = adapt(dict(given.state), whole)
            found = fit_state_dict(adapted, wanted, part=True, spelled=_spelled)
        except Exception:  # weights of anything else: the first error says it best
            adapted = None
        if adapted is None:
            raise
        return FoundWeights(found.state, given.report)


def _whole(network: nn.Module, name: str, used: Mapping[str, Any]) -> nn.Module:
    """Return timm's whole network: the one within an extractor, or one made anew for its names."""
    inner = getattr(network, "model", network)
    if hasattr(inner, "group_matcher"):
        return inner
    options = {key: value for key, value in used.items() if key not in _OF_EXTRACTORS}
    with torch.random.fork_rng(devices=[]):
        return timm.create_model(name, **options)


def _spelled(key: str) -> str:
    return key.replace(".", "_")


def _nearest(name: str, candidates: Sequence[str]) -> str:
    matches = get_close_matches(name, candidates, n=4, cutoff=0.5)
    return f" Did you mean {', '.join(matches)}?" if matches else ""
