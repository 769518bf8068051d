"""Further inputs of a network beside the images: a question, a text embedding, other views."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from learned_saliency.ops import Activation, activation_of

Call = Callable[..., Any]  # call(model, images, **inputs) -> what the network returns

_CONSTANTS = (bool, int, float, str, type(None))


def run_plainly(model: nn.Module, images: Tensor) -> Any:
    """Run a network of images alone."""
    return model(images)


def needed(call: Call) -> list[str]:
    """List the names of the inputs that ``call`` has no default for."""
    return [
        name
        for name, parameter in list(_signature(call).parameters.items())[2:]
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def check_inputs(call: Call, inputs: Mapping[str, Any]) -> None:
    """Check further inputs of a batch.

    Args:
        call: Function ``call(model, images, **inputs)``.
        inputs: The inputs by name, see `SplitClassifier.bind`.

    Raises:
        TypeError: If a name is missing or unknown, or an input is neither tensors nor a constant.
        ValueError: If the tensors do not have one entry for each image of one batch.
    """
    try:
        _signature(call).bind(None, None, **inputs)
    except TypeError as error:
        names = list(_signature(call).parameters)[2:]
        known = f"its inputs are {', '.join(names)}" if names else "it takes images alone"
        raise TypeError(f"the network's call has {error}; {known}") from None
    lengths: dict[str, int] = {}
    for path, leaf in pytree.tree_flatten_with_path(dict(inputs))[0]:
        name = str(path[0].key) + pytree.keystr(path[1:])
        listed = any(isinstance(key, pytree.SequenceKey) for key in path)
        if not isinstance(leaf, Tensor) and (listed or not isinstance(leaf, _CONSTANTS)):
            raise TypeError(
                f"{name} must be a tensor with an entry for each image, or for all images one "
                f"number, string, flag or None outside of lists, got {type(leaf).__name__}"
            )
        if isinstance(leaf, Tensor):
            if leaf.dim() == 0:
                raise ValueError(
                    f"{name} is a tensor without axes, not with an entry for each image: give the "
                    "number itself, and let call hold tensors that all images share"
                )
            lengths[name] = len(leaf)
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"the inputs must have one entry for each image, got {_counted(lengths)}: let call "
            "hold tensors that all images share"
        )


def _signature(call: Call) -> inspect.Signature:
    try:
        return inspect.signature(call)
    except (TypeError, ValueError):
        raise TypeError(
            f"call must be a function call(model, images, **inputs), got {call!r}"
        ) from None


def _counted(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in lengths.items())


class Inputs:
    """Further inputs of a batch by name.

    Args:
        given: See `check_inputs`; empty where the network takes images alone, or none are bound.

    Attributes:
        given: As given.
        tensors: The tensors among them, in a fixed order, each with one entry for each image.
        form: Everything of them but the tensors: what a traced network has fixed in it.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = dict(given)
        self._leaves, self._structure = pytree.tree_flatten(self.given)
        self._places = [i for i, leaf in enumerate(self._leaves) if isinstance(leaf, Tensor)]
        self.tensors = [self._leaves[place] for place in self._places]
        rest = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in self._leaves]
        self.form = repr((rest, self._structure))

    def replaced(self, tensors: Sequence[Tensor] | fx.Proxy) -> dict[str, Any]:
        """Return the inputs with others in the place of their tensors."""
        leaves = list(self._leaves)
        for number, place in enumerate(self._places):
            leaves[place] = tensors[number]
        return pytree.tree_unflatten(leaves, self._structure)

    def of_rows(self, rows: Tensor) -> Inputs:
        """Return the inputs of the images at ``rows``, int (R,)."""
        return Inputs(self.replaced([tensor[rows.to(tensor.device)] for tensor in self.tensors]))

    def of_images(self, images: Tensor) -> list[Tensor]:
        """Return the tensors; raise ValueError if they are not of as many images."""
        if self.tensors and len(self.tensors[0]) != images.shape[0]:
            raise ValueError(
                f"the inputs {', '.join(self.given)} are bound for {len(self.tensors[0])} images, "
                f"not for {images.shape[0]}: bind() those of these, or pick them by of_rows()"
            )
        return self.tensors


class OfFirstImage(nn.Module):
    """A classifier with the inputs of its first image, whatever images come.

    Args:
        classifier: One that has `of_rows`.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    @property
    def activation(self) -> Activation:
        """Function of the logits to probabilities, that of the classifier."""
        return activation_of(self.classifier)

    def forward(self, images: Tensor) -> Tensor:
        """Run the classifier on images (R, 3, H, W)."""
        rows = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return self.classifier.of_rows(rows)(images)
