"""Activations of several layers, and the score's gradients by them, from one pass of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.query import Query
from learned_saliency.attribution.core.scales import Level, find_levels, named_levels, noise
from learned_saliency.attribution.core.split import SplitClassifier
from learned_saliency.ops import full_precision, widen


class LevelGradients(NamedTuple):
    """Activations of one level and the gradients by them, as a method reads them of a `Query`.

    Attributes:
        features: Activations (B, K_i, h_i, w_i), detached, at least float32.
        gradients: Gradient of each image's score by them, of the same shape.
    """

    features: Tensor
    gradients: Tensor


def split_of(classifier: nn.Module) -> SplitClassifier | None:
    """Find the split network within a classifier; None if there is none."""
    return next((m for m in classifier.modules() if isinstance(m, SplitClassifier)), None)


def levels_of(
    classifier: SplitClassifier, images: Tensor, names: Sequence[str] | None
) -> list[Level]:
    """Find the levels below the layer of a split network, and that of the layer itself.

    Args:
        classifier: In evaluation mode.
        images: Shape (B, 3, H, W); gives size, device and type of the images of a trial pass.
        names: Names of the layers of the finer levels, from fine to coarse; None to find them.

    Returns:
        The levels from fine to coarse; the last is the layer.

    Raises:
        ValueError: If the network takes more than images, or a name is none of a level's.
    """
    if classifier.inputs.given:
        raise ValueError(
            "levels are found in networks that take images alone: explain this one by a method "
            "of one layer"
        )
    trial = noise(images.shape[-2:]).to(images)
    with torch.no_grad():
        own = classifier.features(trial)
        model, layer, layout = classifier.model, classifier.layer, classifier.layout
        if names is None:
            found = find_levels(model, layer, trial, layout, own.shape[-2:])
        else:
            found = named_levels(model, layer, trial, names)
    return [*(each.level for each in found), Level(layer, layout)]


def gradients_of_levels(
    query: Query, classifier: SplitClassifier, levels: Sequence[Level]
) -> list[LevelGradients]:
    """Run a network once, forward and back to its first level.

    Args:
        query: The batch; its logits become those of this run.
        classifier: The split network within the query's classifier.
        levels: From fine to coarse.
    """
    names = [level.layer for level in levels]
    with torch.enable_grad(), _kept(classifier.model, names) as outputs:
        query.logits = query.run(query.images)
    if missing := [name for name in names if len(outputs[name]) != 1]:
        raise ValueError(
            f"layer {missing[0]!r} runs {len(outputs[missing[0]])} times: it cannot be a level"
        )
    kept = [outputs[name][0] for name in names]
    size = query.images.shape[-2:]
    return [
        LevelGradients(*(level.layout.to_grid(part, size)[1] for part in pair))
        for level, pair in zip(levels, _pairs(query, kept), strict=True)
    ]


def gradients_of_own_levels(
    query: Query, levels: Callable[[Tensor], list[Tensor]]
) -> list[LevelGradients]:
    """Run a classifier that gives levels of its own once, forward and back to its first level.

    Args:
        query: The batch; its logits become those of this run.
        levels: The classifier's function of images to levels, see `models.MultiScaleClassifier`.

    Raises:
        ValueError: If the levels do not depend on the images by operations that have a gradient.
    """
    with torch.enable_grad():
        kept = levels(query.images.detach().requires_grad_())
        if not all(level.requires_grad for level in kept):
            raise ValueError("the classifier's levels have no gradient: they may come from a store")
        query.logits = widen(query.classifier.head(kept[-1]))
    return [LevelGradients(*pair) for pair in _pairs(query, kept)]


def _pairs(query: Query, kept: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Compute the detached outputs of layers, and the score's gradients by them."""
    with full_precision(query.images.device), torch.enable_grad():
        gradients = torch.autograd.grad(query.score.sum(), kept)
    query.logits = query.logits.detach()
    return [
        (widen(output.detach()), widen(gradient))
        for output, gradient in zip(kept, gradients, strict=True)
    ]


@contextmanager
def _kept(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Keep what layers return, as tensors with a gradient, while the context lasts."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def hook(name: str) -> Callable[..., Any]:
        def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
            tensor = output[0] if isinstance(output, tuple) else output
            # Nothing before the first level needs a graph.
            own = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            outputs[name].append(own)
            passed = own.clone()  # what follows may overwrite it in place
            return (passed, *output[1:]) if isinstance(output, tuple) else passed

        return keep

    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
