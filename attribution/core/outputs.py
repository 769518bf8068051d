"""Logits in what a network returns."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class OutputError(ValueError):
    """An output of a network in which there are no logits."""


def find_logits(output: Any, batch: int) -> Tensor:
    """Find the logits in what a network returns for a batch of images.

    A network may return them alone, under the name ``logits`` (a dictionary, a named tuple or an
    object such as those of Hugging Face's transformers), or as the only entry of a dictionary, list
    or tuple. Axes of length 1 behind the classes are dropped.

    A network with one logit z is binary: it becomes one with the two logits -z/2 and z/2, whose
    softmax is 1 - sigmoid(z) and sigmoid(z).

    Args:
        output: Whatever the network returns.
        batch: Number B of images.

    Returns:
        Logits (B, C), C at least 2.

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
    return torch.cat([-found / 2, found / 2], dim=1) if found.shape[1] == 1 else found


def _unpacked(output: Any) -> Any:
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
