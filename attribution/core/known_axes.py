"""Functions that say by their definition that channels come first in what they take and give."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

_CHANNELS_FIRST = re.compile(
    "conv(_transpose)?2d|(batch|group|instance)_norm|(adaptive_)?(avg|max)_pool2d|interpolate|"
    "pixel_shuffle"
)
# Names without a trailing underscore; the axes of what they give are those of what they take.
_SAME_AXES = re.compile(
    "relu6?|leaky_relu|elu|selu|gelu|silu|mish|(hard)?sigmoid|hardswish|hardtanh|dropout(2d)?|"
    "add|mul|__[ri]?(add|mul)__|contiguous|clone"
)


class _Watch(TorchFunctionMode):
    """Collect the tensors of functions that put channels first, and those with the same axes."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []  # so that the numbers of objects below stay theirs
        self.first: set[int] = set()
        self.alike: list[tuple[int, int]] = []

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        name = name if name.endswith("__") else name.removesuffix("_")
        first, same = _CHANNELS_FIRST.fullmatch(name), _SAME_AXES.fullmatch(name)
        if first or same:
            taken = args if same else args[:1]  # the others are weights
            around = [t for t in pytree.tree_leaves((taken, result)) if isinstance(t, Tensor)]
            around = [tensor for tensor in around if tensor.dim() == 4]
            self.kept += around
            if first:
                self.first |= set(map(id, around))
            else:
                self.alike += [(id(t), id(result)) for t in around if t.shape == result.shape]
        return result


@torch.no_grad()
def has_channels_first(network: nn.Module, layer: str, images: Tensor) -> bool:
    """Return whether a function that puts channels first makes or takes a layer's output.

    Args:
        network: In evaluation mode.
        layer: Qualified name of the layer.
        images: Shape (B, 3, H, W).

    Returns:
        True if it is certain, also by way of functions that leave the axes as they are.
    """
    outputs: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: outputs.append(output)
    )
    try:
        with _Watch() as watch:
            network(images)
    finally:
        handle.remove()
    group, grown = {id(output) for output in outputs}, True
    while grown:
        further = {n for pair in watch.alike if group & set(pair) for n in pair} - group
        group, grown = group | further, bool(further)
    return bool(group & watch.first)
