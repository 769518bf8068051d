"""Logits, or scores of any kind, in what a network returns."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from learned_saliency.attribution.core.recording import is_recorded
from learned_saliency.ops import Activation

#: Function of what a network returns for B images to the scores (B, T) that can be explained, or
#: (B,) where there is one.
Outputs = Callable[[Any], Tensor]


class OutputError(ValueError):
    """An output of a network in which there are no logits, or no scores by a function."""


class NoGradientError(OutputError):
    """Scores that have no gradient, of an output that has one."""


def find_scores(
    output: Any,
    batch: int,
    function: Outputs | None = None,
    activation: Activation = Activation.SOFTMAX,
) -> Tensor:
    """Compute the scores that can be explained from what a network returns for a batch of images.

    Args:
        output: Whatever the network returns.
        batch: Number B of images.
        function: See `Outputs`; None for the logits, see `find_logits`.
        activation: Function of the logits to probabilities.

    Returns:
        Scores (B, T), or logits (B, C).

    Raises:
        OutputError: If the function raises, or gives no finite scores of this shape; the message
            names the function.
        NoGradientError: If gradients are recorded and the function drops them.
    """
    if function is None:
        return find_logits(output, batch, activation)
    name = name_of(function)
    try:
        scores = function(output)
    except Exception as error:  # the function's own
        raise OutputError(
            f"{name} fails on what the network returns, {_described(output)}: {error} "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        raise OutputError(f"{name} gives {_described(scores)}, not a floating-point tensor (B, T)")
    if tuple(scores.shape) == (batch,):
        scores = scores[:, None]
    if scores.dim() != 2 or scores.shape[0] != batch or not scores.shape[1]:
        raise OutputError(
            f"{name} gives {tuple(scores.shape)} for {batch} images, not scores (B,) or (B, T)"
        )
    if not is_recorded() and not bool(scores.isfinite().all()):
        raise OutputError(f"{name} gives scores that are NaN or infinite")
    if torch.is_grad_enabled() and not scores.requires_grad and _has_graph(output):
        raise NoGradientError(
            f"{name} gives scores without a gradient: it detaches, rounds, counts or leaves torch; "
            "methods that need no gradient, such as ScoreCAM, take it"
        )
    return scores


def name_of(function: Outputs) -> str:
    """Name a function in a message."""
    return getattr(function, "__qualname__", type(function).__name__)


def _has_graph(output: Any) -> bool:
    values = pytree.tree_leaves(output)
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def find_logits(output: Any, batch: int, activation: Activation = Activation.SOFTMAX) -> Tensor:
    """Find the logits in what a network returns for a batch of images.

    A network may return them alone, under the name ``logits`` (a dictionary, a named tuple or an
    object such as those of Hugging Face's transformers), or as the only entry of a dictionary, list
    or tuple. Axes of length 1 behind the classes are dropped.

    A network with one logit z is binary: it becomes one with the two logits -z/2 and z/2, whose
    softmax is 1 - sigmoid(z) and sigmoid(z). For sigmoids it is the logit of the only class.

    Args:
        output: Whatever the network returns.
        batch: Number B of images.
        activation: Function of the logits to probabilities.

    Returns:
        Logits (B, C), C at least 2, or 1 for sigmoids.

    Raises:
        OutputError: If there are no logits in it, it is open which entry they are, or they are not
            of shape (B, C).
    """
    found = _unpacked(output)
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise OutputError(
            f"the network returns {_described(output)}, not one tensor of logits (B, C): wrap it "
            "in a module that returns these alone"
        )
    shape = tuple(found.shape)
    if found.dim() < 2 and found.numel() == batch:  # one logit, squeezed
        found = found.reshape(batch, 1)
    if found.dim() > 2 and shape[2:].count(1) == len(shape[2:]):
        found = found.flatten(1)
    if found.dim() != 2 or found.shape[0] != batch or not found.shape[1]:
        raise OutputError(
            f"the network returns {shape} for {batch} images, not logits (B, C): wrap it in a "
            "module that returns these"
        )
    if found.shape[1] == 1 and activation is Activation.SOFTMAX:
        return torch.cat([-found / 2, found / 2], dim=1)
    return found


def find_entry(output: Any, entry: str | int | None = None) -> Tensor:
    """Find one entry of what a network returns.

    Args:
        output: Whatever the network returns.
        entry: A key of a dictionary, an attribute of an object or an index of a list or tuple; None
            for the only one, or the one that is named ``logits``.

    Raises:
        KeyError: If there is no such entry.
        TypeError: If it is no tensor.
    """
    if entry is None:
        found = _unpacked(output)
    elif isinstance(output, Mapping) or isinstance(entry, int):
        try:
            found = output[entry]
        except (LookupError, TypeError):
            raise KeyError(f"there is no entry {entry!r}") from None
    elif hasattr(output, entry):
        found = getattr(output, entry)
    else:
        raise KeyError(f"there is no entry {entry!r}")
    if not isinstance(found, Tensor):
        raise TypeError(f"expected a tensor, got {_described(found)}: name its entry")
    return found


def _unpacked(output: Any) -> Any:
    """Take the logits, or the only entry, out of an output."""
    if isinstance(output, Mapping):
        if "logits" in output:
            return output["logits"]
        output = list(output.values())
    elif isinstance(getattr(output, "logits", None), Tensor):
        return output.logits
    if isinstance(output, list | tuple) and len(output) == 1:
        return _unpacked(output[0])
    return output


def _described(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dictionary of {', '.join(map(str, output)) or 'nothing'}"
    if isinstance(output, list | tuple):
        return f"a {'list' if isinstance(output, list) else 'tuple'} of {len(output)}"
    return f"a tensor of {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
