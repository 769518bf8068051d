"""First layer of a network, adapted to images of another number of channels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from timm.models import adapt_input_conv
from torch import Tensor, nn

from learned_saliency.storage import WeightsError, find_state_dict

COLORS = 3  # channels that networks take unless they are told otherwise


def find_first_layer(network: nn.Module) -> tuple[str, nn.Conv2d]:
    """Find the convolution that reads the image: the first one, in the order of the modules.

    Raises:
        ValueError: If the network has no convolution.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ValueError("it has no convolution that could read images of another number of channels")


def adapt_first_layer(network: nn.Module, channels: int) -> None:
    """Make a network of colors take images of another number of channels, as timm does.

    The first layer's weights are summed up for one channel; for more they are repeated, and scaled
    so that sums stay as large.

    Args:
        network: The network; changed in place.
        channels: Number of channels C, 1 or more. Nothing is to be done for those that it takes.

    Raises:
        ValueError: If the first convolution takes something else than colors.
    """
    name, layer = find_first_layer(network)
    if layer.in_channels == channels:
        return
    if layer.in_channels != COLORS or layer.groups != 1:
        raise ValueError(
            f"its first convolution {name} takes {layer.in_channels} channels, neither colors nor "
            f"{channels}"
        )
    weight = adapt_input_conv(channels, layer.weight.data)
    layer.weight = nn.Parameter(weight, layer.weight.requires_grad)
    layer.in_channels = channels


def with_channels(
    content: Any,
    wanted: Mapping[str, Tensor],
    layers: Collection[str],
    spelled: Callable[[str], str] = str,
) -> Any:
    """Adapt weights of the first layers, as a file has them, to another number of channels.

    Args:
        content: What `storage.read_weights` gives.
        wanted: The network's weights by name.
        layers: Names of its first layers.
        spelled: Brings the spellings of a name to one.

    Returns:
        ``content`` itself where nothing is to be adapted, or it holds no weights.
    """
    names = {spelled(f"{layer}.weight") for layer in layers}
    shapes = {spelled(key): value.shape for key, value in wanted.items() if spelled(key) in names}
    if all(shape[1] == COLORS for shape in shapes.values()):
        return content
    try:
        state = dict(find_state_dict(content).state)
    except WeightsError:
        return content
    found = content
    for key, value in state.items():
        shape = shapes.get(next((name for name in shapes if spelled(key).endswith(name)), ""))
        if shape is not None and value.ndim == 4 and value.shape[1] == COLORS != shape[1]:
            state[key] = adapt_input_conv(shape[1], value)
            found = state
    return found
