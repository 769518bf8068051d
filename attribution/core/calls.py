"""Calls of functions on tensors, as a network makes them, to be made again on other values."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

#: Names of what reads sizes and types of tensors alone.
METADATA = frozenset(
    ["size", "dim", "ndimension", "numel", "nelement", "stride", "__len__", "is_floating_point"]
)


class Call:
    """One call of a function on tensors, some of which require gradients.

    Args:
        function: The function, as `torch.overrides` gives it.
        args: Its arguments.
        kwargs: Its arguments by name.

    Attributes:
        function: As given.
        name: Name of the function, see `name_of`.
        taken: The tensors among the arguments that require gradients, in their order.
    """

    def __init__(self, function: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
        self.function = function
        self._flat, self._spec = pytree.tree_flatten((args, kwargs))
        self._places = [
            place
            for place, value in enumerate(self._flat)
            if isinstance(value, Tensor) and value.requires_grad
        ]
        self.name = name_of(function)
        self.taken = [self._flat[place] for place in self._places]

    def arguments(self, values: Sequence[Tensor]) -> tuple[tuple, dict[str, Any]]:
        """Return positional and named arguments with other values in the place of `taken`."""
        flat = list(self._flat)
        for place, value in zip(self._places, values, strict=True):
            flat[place] = value
        return pytree.tree_unflatten(flat, self._spec)

    def run(self, values: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
        """Call the function on other values; return them as leaves of a graph, and the result."""
        with torch.enable_grad():
            leaves = [value.detach().requires_grad_() for value in values]
            args, kwargs = self.arguments([leaf.clone() for leaf in leaves])  # it may work in place
            return leaves, self.function(*args, **kwargs)

    def value(self) -> Any:
        """Call the function on the values that it takes, without a graph; they stay as they are."""
        with torch.no_grad():
            values = [value.detach() for value in self.taken]
            if _may_write(self.function, self._flat):
                values = [value.clone() for value in values]
            args, kwargs = self.arguments(values)
            return self.function(*args, **kwargs)


def names(text: str) -> frozenset[str]:
    """Return the words of a text, names of functions as `name_of` gives them."""
    return frozenset(text.split())


def name_of(function: Callable) -> str:
    """Return the name of a function; of an in-place function, that of its out-of-place twin."""
    name = getattr(function, "__name__", "")
    return name if name.endswith("__") else name.removesuffix("_")


def pull_back(
    outputs: Sequence[Tensor], leaves: Sequence[Tensor], outgoing: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Multiply outgoing values by the transposed derivative of outputs by leaves."""
    pairs = [(o, g) for o, g in zip(outputs, outgoing, strict=True) if g is not None]
    return list(
        torch.autograd.grad(
            [output for output, _ in pairs],
            leaves,
            [gradient for _, gradient in pairs],
            retain_graph=True,
            allow_unused=True,
        )
    )


def _may_write(function: Callable, flat: Sequence[Any]) -> bool:
    """Return whether a call may work in place: by its name, or by a flag such as ``inplace``."""
    name = getattr(function, "__name__", "")
    in_place = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
    return in_place or any(value is True for value in flat)
