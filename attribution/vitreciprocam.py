"""ViT-ReciproCAM."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.attention import fused
from learned_saliency.attribution.core.cells import cell_masks
from learned_saliency.attribution.core.masked_tokens import RestByBlocks, RestByRow
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.transformer import (
    TransformerMethod,
    chosen,
    token_map,
    vision_transformer,
)


class ViTReciproCAM(TransformerMethod):
    """ViT-ReciproCAM (Byun and Lee 2023): the score of each patch alone.

    The first norm of a block gives tokens F. For each patch n a spatial token mask M_n keeps it
    and sets all other patches to 0, while the tokens before the grid (class, distillation,
    registers) and the residual stream stay; the rest of the network then gives the patch's value:

        map_n = y_c(rest(F * M_n))

    With ``gaussian`` M_n is instead 1/4 at the patch, 1/8 at its neighbors and 1/16 at its
    diagonal ones.

    In the last block of a network whose head reads the tokens before the grid alone, only their
    queries matter, and masking a patch replaces its key and value by those of a zero token. So each
    mask costs one row of attention and the rest of the block for these tokens, which is exact; the
    plain run ends at this block's attention. All else runs the blocks on all tokens once per mask.

    For vision transformers of timm and torchvision that are the whole network, see
    `vision_transformer`.

    Args:
        gaussian: Whether masks are Gaussian.
        block: Index of the block, from the last one, -1, on; others cost a run of all blocks
            behind them per patch.
        batch_size: Masks in one run, at least 1; None for as many as the device is fast with.
        **options: See `PostHocMethod`.

    Note:
        The released code takes the probability (``target="probability"``) in the second to last
        block (``block=-2``; it refuses the last), with Gaussian masks. The masks of patches at the
        border lack what lies outside, as there.

    Raises:
        ValueError: If an option is out of its range; when called, if the network is another one.
    """

    def __init__(
        self,
        *,
        gaussian: bool = True,
        block: int = -1,
        batch_size: int | None = None,
        **options: str,
    ) -> None:
        super().__init__(**options)
        if block >= 0:
            raise ValueError(f"block must be negative, counted from the last one, -1; got {block}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.gaussian = gaussian
        self.block = block
        self.batch_size = batch_size

    def _class_maps(self, query: Query, targets: Tensor | None) -> Tensor:
        parts = vision_transformer(query.classifier, type(self).__name__)
        if len(parts.blocks) < -self.block:
            raise ValueError(f"the network has {len(parts.blocks)} blocks, none is {self.block}")
        with fused(query.classifier):
            if self.block == -1 and parts.read:
                rest = RestByRow(query, parts)
            else:
                rest = RestByBlocks(query, parts, self.block)
            classes = chosen(query, rest.logits, targets)
            height, width = token_map(rest.tokens[..., 0], query.classifier, query.images).shape[1:]
            masks = cell_masks(height, width, self.gaussian).flatten(1).to(query.images.device)
            size = self.batch_size or rest.size
            values = []
            for image in range(len(query.images)):
                for own in masks.split(size):
                    wanted = classes[image].expand(len(own), -1)
                    values.append(query.class_scores(rest.masked(image, own), wanted))
        return torch.cat(values).unflatten(0, (-1, height, width)).permute(0, 3, 1, 2)
