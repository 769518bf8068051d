"""Tensors of a network that were made under inference mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree


@contextmanager
def normal_tensors(network: nn.Module) -> Iterator[None]:
    """Stand in for the tensors of a network that were made under inference mode.

    These, a table that a module fills at its first pass for instance, cannot take part in a
    gradient. Copies take their places for a while; parameters are never among them.

    Args:
        network: The network; afterwards it has its own tensors again.
    """
    swapped: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in network.modules():
            for place in (module._buffers, module.__dict__):
                for name, value in list(place.items()):
                    known = place is module.__dict__ and name in _OF_TORCH
                    if not known and _has_inference(value):
                        swapped.append((place, name, value))
                        place[name] = pytree.tree_map_only(Tensor, _normal, value)
        yield
    finally:
        for place, name, value in reversed(swapped):
            place[name] = value


_OF_TORCH = frozenset(nn.Module().__dict__)  # attributes of every module


def _has_inference(value: Any) -> bool:
    leaves = pytree.tree_leaves(value) if isinstance(value, Tensor | list | tuple | dict) else []
    return any(isinstance(leaf, Tensor) and leaf.is_inference() for leaf in leaves)


def _normal(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor
