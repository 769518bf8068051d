from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learned_saliency.models.class_attention import check_class_attention, class_attention
from learned_saliency.models.creation import create, of_channels
from learned_saliency.models.first_layer import COLORS
from learned_saliency.models.trunk import Trunk, increasing

_LEVELS = 4  # by default, as in ViTDet


class TransformerBackbone(Trunk):
    """A timm network whose blocks all give maps of one size, such as a plain vision transformer.

    The patch tokens of a block become a map (B, K, h, w) with a cell per patch; class, distillation
    and register tokens are left out. Several blocks become the levels, all equally big: a decoder
    makes a `FeaturePyramid` of them. Each level is what timm's
    ``forward_intermediates(..., norm=True)`` gives: the network's last normalization is applied to
    every level, as DINOv2 does it, which tames the few huge channels of the inner blocks. In a
    network that normalizes after pooling (BEiT, EVA-02), this is part of the head, and left out.

    Images may have another size than those of the pretraining, and need not be square: timm
    resamples the positions, once for ``img_size``, and on each pass for any other size, where the
    network can do so (ViT, DeiT, DINOv2, DINOv3, EVA, CLIP). Networks whose weights depend on the
    size (BEiT, relative positions) take images of ``img_size`` alone.

    Args:
        name: Name of a timm network, with the tag of its weights or without
            (``vit_small_patch14_reg4_dinov2.lvd142m``).
        pretrained: See `MultiScaleBackbone`. timm resamples the positions in a file that was
            written for images of another size, and knows the names in the files of DINOv2, CLIP
            and others.
        out_indices: Blocks to keep, from 0 on and in increasing order; by default four, evenly
            spaced up to the last. Blocks after the last of them are dropped.
        img_size: Side of the images in pixels, or height and width, for which positions are made
            or resampled; None keeps the size of the pretraining.
        frozen: See `Trunk`.
        trainable: See `Trunk`.
        in_chans: Number C of channels of the images. Of other numbers than 3, timm sums up the
            first layer's pretrained weights for one channel and repeats them for more.
        **timm_kwargs: Passed to the network's constructor, such as ``drop_path_rate``.

    Attributes:
        channels: Channels of each level, all alike.
        reductions: Side of a patch in pixels, for each level.
        indices: Blocks that the levels come from.
        has_class_attention: Whether the last level has one more channel, see
            `append_class_attention`.

    Raises:
        ValueError: If timm has no such network or no such weights, if its maps have several sizes,
            if an option does not fit, or if a file is missing, damaged or of another network.
        RuntimeError: If the pretrained weights cannot be loaded.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool | str = False,
        out_indices: Sequence[int] | None = None,
        img_size: int | Sequence[int] | None = None,
        frozen: bool = False,
        trainable: str | None = None,
        in_chans: int = COLORS,
        **timm_kwargs: Any,
    ) -> None:
        optional = {"dynamic_img_size": True, "img_size": img_size}
        options = {"num_classes": 0, **of_channels(in_chans), **timm_kwargs}
        network, used = create(name, pretrained, options, optional)
        blocks = getattr(network, "feature_info", None) or []
        if len({block["reduction"] for block in blocks}) != 1:
            raise ValueError(
                f"Backbone '{name}' is no plain vision transformer, its maps have several sizes: "
                f"it is a case for backbone=timm backbone.name={name}"
            )
        indices = _spaced(len(blocks)) if out_indices is None else increasing(out_indices)
        if indices[-1] >= len(blocks):
            raise ValueError(
                f"Backbone '{name}' has blocks 0 to {len(blocks) - 1}, got out_indices={[*indices]}"
            )
        network.prune_intermediate_layers(list(indices))
        super().__init__(network, name, used, frozen, trainable)
        kept = [blocks[index] for index in indices]
        self.indices = list(indices)
        self.has_class_attention = False
        self.channels = [block.get("num_chs_norm", block["num_chs"]) for block in kept]
        self.reductions = [block["reduction"] for block in kept]
        self.patch = self.reductions[-1]

    def append_class_attention(self) -> None:
        """Append a channel to the last level: the class token's attention to the patches.

        It is the mean over heads, summed over all blocks that run, without a graph. The other
        channels and levels stay what they are.

        Raises:
            ValueError: If the network has no class token, or attention from which it cannot be
                read.
        """
        if not self.has_class_attention:
            check_class_attention(self.network, self.name)
            self.has_class_attention = True
            self.channels[-1] += 1

    def extra_repr(self) -> str:
        """Tell a channel that is no part of the network."""
        return "has_class_attention=True" if self.has_class_attention else ""

    def _levels(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        patch = self.patch
        if height % patch or width % patch:
            raise ValueError(
                f"{height} x {width} pixels do not divide into patches of {patch} x {patch} pixels"
            )
        if self.has_class_attention:
            return self._levels_with_attention(images)
        return self._intermediates(images)

    def _intermediates(self, images: Tensor) -> list[Tensor]:
        return self.network.forward_intermediates(
            images, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )

    @torch.compiler.disable  # compiled code does not see hooks that come and go
    def _levels_with_attention(self, images: Tensor) -> list[Tensor]:
        with class_attention(self.network) as rows:
            *finer, last = self._intermediates(images)
        attention = torch.stack(rows).sum(dim=0).unflatten(1, last.shape[2:])
        return [*finer, torch.cat([last, attention[:, None].to(last.dtype)], dim=1)]


def _spaced(depth: int) -> tuple[int, ...]:
    """Choose up to four of a number of blocks, evenly spaced up to the last."""
    count = min(_LEVELS, depth)
    return tuple(round((i + 1) * depth / count) - 1 for i in range(count))
