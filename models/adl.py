"""Attention-based dropout layers, put into the backbone of a CAM classifier."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from learned_saliency.models.cam import CAMClassifier
from learned_saliency.models.transformer import TransformerBackbone
from learned_saliency.ops import widen

# Where the WSOL benchmark has the layers in networks without residual stages. VGG16: after the
# third pool, and after the fourth and the fifth block; Inception-v3: after the blocks of its last
# two resolutions, and after the convolutions on top.
_PLACES = {
    "vgg16": ("features.16", "features.22", "features.29"),
    "inception_v3": ("Mixed_5d", "Mixed_6e", "neck"),
}
_LEVELS = 3  # last levels of any other network


class AttentionDropout(nn.Module):
    """Attention-based dropout layer, ADL (Choe and Shim, CVPR 2019).

    The attention of a cell is the mean of its channels. In training, features are multiplied by one
    of two maps, drawn once for the batch in each pass:

    - with probability ``drop_rate`` the drop mask, 1 where the attention is below ``gamma`` times
      its largest value in the image and 0 elsewhere: the most telling cells are dropped, all others
      are kept as they are;
    - else the importance map, the sigmoid of the attention, through which the gradient runs.

    In evaluation mode features pass as they are.

    Args:
        drop_rate: Probability of the drop mask, in [0, 1].
        gamma: Part of the largest attention from which on a cell is dropped, in [0, 1]. Where the
            largest attention is below 0, as it may be without a ReLU, no cell is (gamma below 1).
        channel_dim: Dimension of the channels; -1 for features (B, h, w, K).

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, drop_rate: float = 0.75, gamma: float = 0.9, channel_dim: int = 1) -> None:
        super().__init__()
        for name, value in (("drop_rate", drop_rate), ("gamma", gamma)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        self.drop_rate = drop_rate
        self.gamma = gamma
        self.channel_dim = channel_dim

    def forward(self, features: Tensor) -> Tensor:
        """Drop or weight cells of features (B, K, h, w).

        Raises:
            ValueError: If the features are no such maps.
        """
        if not isinstance(features, Tensor) or features.ndim != 4:
            kind = tuple(features.shape) if isinstance(features, Tensor) else type(features)
            raise ValueError(f"ADL's features must have shape (B, K, h, w), got {kind}")
        if not self.training:
            return features
        attention = widen(features).mean(self.channel_dim, keepdim=True)
        kept = drop_mask(attention, self.gamma).to(attention.dtype)
        drops = torch.rand((), device=features.device) < self.drop_rate
        return features * torch.where(drops, kept, attention.sigmoid()).to(features.dtype)

    def follow(self, layer: nn.Module, inputs: Any, features: Tensor) -> Tensor:
        """Take the features of another layer, as a forward hook of it."""
        return self(features)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"drop_rate={self.drop_rate}, gamma={self.gamma}"


def drop_mask(attention: Tensor, gamma: float) -> Tensor:
    """Mark the cells that a drop mask keeps.

    Args:
        attention: Attention of each cell; all dimensions but the first belong to one image.
        gamma: Part of the largest attention below which a cell is kept, in [0, 1].

    Returns:
        A bool tensor of the same shape.
    """
    largest = attention.flatten(1).amax(1).reshape(-1, *[1] * (attention.ndim - 1))
    return attention < gamma * largest


class ADLClassifier(CAMClassifier):
    """CAM classifier with attention-based dropout layers in its backbone (Choe and Shim 2019).

    An `AttentionDropout` follows each of several layers of the backbone. It has no parameters, so
    that weights, their names and their order are those of `CAMClassifier`; in evaluation mode the
    two are the same network. The dropout layers belong to the backbone: they rest while the
    backbone is in evaluation mode, also where another method takes it over or freezes it.

    Args:
        backbone: A `MultiScaleBackbone` whose layers give maps.
        num_classes: See `CAMClassifier`.
        drop_rate: See `AttentionDropout`.
        gamma: See `AttentionDropout`.
        layers: Layers of the backbone that a dropout layer follows, by their names in timm
            (``layer3.0``), and ``neck`` for the convolutions on top. By default the places of the
            WSOL benchmark: the first block of the last but one stage, and the first and the last
            block of the last one in networks with residual stages of that name (ResNets); those of
            VGG16 and Inception-v3 in the configurations of the benchmark; in other networks the
            last three levels.
        **options: See `CAMClassifier`.

    Raises:
        ValueError: If the backbone is frozen or passes tokens instead of maps, has no such layer,
            or an option is out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        drop_rate: float = 0.75,
        gamma: float = 0.9,
        layers: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, num_classes, **options)
        _check_backbone(backbone)
        names = default_layers(backbone) if layers is None else list(layers)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"layers must name different layers, at least one, got {names}")
        # timm's extractors give their features in one order of dimensions, the neck in ours
        last = getattr(backbone.network, "output_fmt", "NCHW") == "NHWC"
        dropouts = nn.ModuleList()
        for name in names:
            dropout = AttentionDropout(drop_rate, gamma, -1 if last and name != "neck" else 1)
            # before other hooks, by which some of timm's extractors read their levels
            _find_layer(backbone, name).register_forward_hook(dropout.follow, prepend=True)
            dropouts.append(dropout)
        backbone.attention_dropouts = dropouts


def default_layers(backbone: nn.Module) -> list[str]:
    """List the layers of a backbone that a dropout layer follows by default.

    Args:
        backbone: A `MultiScaleBackbone`.
    """
    stages = dict(backbone.network.named_children())
    if {"layer3", "layer4"} <= stages.keys():
        last = len(stages["layer4"]) - 1
        return list(dict.fromkeys(["layer3.0", "layer4.0", f"layer4.{last}"]))
    places = _PLACES.get(backbone.name.partition(".")[0], ())
    if places and all(_layers(backbone).get(_spelled(place)) for place in places):
        return list(places)
    return backbone.network.feature_info.module_name()[-_LEVELS:]


def _check_backbone(backbone: nn.Module) -> None:
    """Refuse a backbone in which dropout layers would do nothing, or into which none fit."""
    if getattr(backbone, "frozen", False):
        raise ValueError(
            "ADL drops features while the backbone learns, which it does not with "
            "backbone.frozen=true: leave it out, or train a head alone by model=cam"
        )
    if isinstance(backbone, TransformerBackbone) or isinstance(backbone.network, FeatureGetterNet):
        raise ValueError(
            f"ADL drops cells of feature maps, but the blocks of '{backbone.name}' pass tokens on: "
            "choose a convolutional network, or one with stages of maps such as Swin"
        )


def _find_layer(backbone: nn.Module, name: str) -> nn.Module:
    known = _layers(backbone)
    layer = known.get(_spelled(name))
    if layer is None:
        close = ", ".join(get_close_matches(_spelled(name), known, n=3, cutoff=0.5))
        nearest = f"; the nearest: {close}" if close else ""
        raise ValueError(f"the backbone has no layer '{name}' that gives features{nearest}")
    return layer


def _layers(backbone: nn.Module) -> dict[str, nn.Module]:
    """Map names to layers; a container alone, which is never called, is none."""
    parts = dict(backbone.network.named_modules())
    if neck := getattr(backbone, "neck", None):
        parts["neck"] = neck
    containers = nn.ModuleList, nn.ModuleDict
    return {
        _spelled(name): part
        for name, part in parts.items()
        if name and type(part) not in containers
    }


def _spelled(name: str) -> str:
    """Spell a name as extractors of timm do, which flatten some stages."""
    return name.removeprefix("body.").replace(".", "_")
