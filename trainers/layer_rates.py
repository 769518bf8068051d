"""Learning rates of a classifier's layers: slower towards the image, faster on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

Group = dict[str, Any]


def check_decay(layer_decay: float | None) -> None:
    """Raise ValueError unless a layer-wise decay is None or in (0, 1]."""
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, or null, got {layer_decay}")


def rate_groups(
    network: nn.Module,
    head_lr_factor: float,
    layer_decay: float | None = None,
    slow_layers: Sequence[str] | None = None,
) -> list[Group]:
    """Group the trained parameters of a classifier by their learning rates.

    The last layer of the backbone learns at the rate of the optimizer, each layer below
    ``layer_decay`` times as fast as the one above it (Clark et al., ELECTRA, ICLR 2020; BEiT and
    MAE fine-tune so), and everything else ``head_lr_factor`` times as fast as the last layer.
    Layers are the blocks that timm counts, the stem being the lowest.

    Args:
        network: Classifier whose ``backbone`` has timm's part as ``network``.
        head_lr_factor: Learning rate of the layers that are not the backbone's.
        layer_decay: Factor in (0, 1]; None gives all layers of the backbone one rate.
        slow_layers: Substrings of the names of the parameters that belong to the backbone; others
            learn as the new layers do. Default: all.

    Returns:
        Groups for `TrainableModule.parameter_groups`: those of the backbone from the last layer
        down, of which the first has no name and the last is ``slowest``; then ``head``. What is
        frozen is in none of them, and no group is empty.

    Raises:
        ValueError: If ``slow_layers`` match nothing, or timm does not order the layers.
    """
    names = [name for name, _ in network.backbone.network.named_parameters()]
    chosen = [
        slow_layers is None or any(pattern in name for pattern in slow_layers) for name in names
    ]
    if slow_layers is not None and not any(chosen):
        raise ValueError(
            f"slow_layers={list(slow_layers)} matches no parameter of the backbone, whose names "
            f"are like {names[0]}"
        )
    groups = _groups(network.backbone, chosen, layer_decay)
    known = {id(weight) for group in groups for weight in group["params"]}
    new = [w for w in network.parameters() if w.requires_grad and id(w) not in known]
    return [*groups, {"params": new, "lr_factor": head_lr_factor, "name": "head"}]


def _groups(backbone: nn.Module, chosen: list[bool], layer_decay: float | None) -> list[Group]:
    """Group the chosen, trained parameters of a backbone."""
    weights = list(backbone.network.parameters())
    trained = [n for n, w in enumerate(weights) if chosen[n] and w.requires_grad]
    if not trained:
        return []
    if layer_decay is None:
        return [{"params": [weights[n] for n in trained]}]
    layers = [layer for *_, layer in backbone.layers()]
    top = max(layers)
    groups: list[Group] = []
    for layer in sorted({layers[n] for n in trained}, reverse=True):
        members = [weights[n] for n in trained if layers[n] == layer]
        factor = layer_decay ** (top - layer)
        groups.append({"params": members, "lr_factor": factor, "name": None})
    groups[-1]["name"] = "slowest"
    groups[0]["name"] = ""
    return groups
