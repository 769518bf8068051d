"""LeGrad."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learned_saliency.attribution.core.attention import Attention, AttentionMode, Replay, fused
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.transformer import (
    TransformerMethod,
    VisionTransformer,
    check_whole,
    chosen,
    token_map,
    vision_transformer,
    watched,
)
from learned_saliency.ops import full_precision, widen

POOLS = ("head", "mean")


class LeGrad(TransformerMethod):
    """LeGrad (Bousselham et al. 2024): how each block's score follows its attention.

    The tokens Z^l after block l get a score s^l as if the network ended there: final norm, pooling
    and classification layer. Its gradient by the attention A^l of the same block alone, without its
    negative part, is averaged over heads h, queries i and blocks l, and kept for the patches:

        map_j = 1/L sum_l 1/(h N) sum_h sum_i (d s^l / d A^l_hij)^+

    Where the head reads the class token alone (or that of distillation, too), only its row of a
    gradient is not zero. Then no block is run with a graph: after one plain pass each block runs
    again on this token, from the result of its attention on, and d s / d A_hij is the product of
    the gradient by the result of query i with the value of key j. Other heads need the blocks'
    graphs from their attention on.

    For vision transformers of timm and torchvision that are the whole network, see
    `vision_transformer`.

    Args:
        last_blocks: Number of blocks that count, from the last one, at least 1; None for all.
        pool: ``"head"``: s^l as the network's own head pools, so that of the last block it is the
            logit; ``"mean"``: from the mean of all tokens, before the norm.
        **options: See `PostHocMethod`.

    Note:
        The paper explains CLIP and gives no rule for a classifier with a class token; its released
        code pools by the mean of all tokens before the norm, and takes the last two blocks of CLIP:
        ``LeGrad(pool="mean", last_blocks=2)``. A network that was trained on its class token was
        never asked for a class by the mean of its tokens, so the default is the head's own way.

    Raises:
        ValueError: If an option is out of its range; when called, if the network is another one.
    """

    needs_gradients = True

    def __init__(
        self, *, last_blocks: int | None = None, pool: str = "head", **options: str
    ) -> None:
        super().__init__(**options)
        if last_blocks is not None and last_blocks < 1:
            raise ValueError(f"last_blocks must be at least 1 or None, got {last_blocks}")
        if pool not in POOLS:
            raise ValueError(f"pool must be one of {POOLS}, got {pool!r}")
        self.last_blocks = last_blocks
        self.pool = pool

    def _class_maps(self, query: Query, targets: Tensor | None) -> Tensor:
        parts = vision_transformer(query.classifier, type(self).__name__)
        parts = parts._replace(blocks=parts.blocks[-(self.last_blocks or len(parts.blocks)) :])
        with fused(query.classifier):
            if self.pool == "head" and parts.read:
                return self._of_prefix(query, targets, parts)
            return self._of_all(query, targets, parts)

    def _of_prefix(self, query: Query, targets: Tensor | None, parts: VisionTransformer) -> Tensor:
        """Compute maps by the rows of the tokens before the grid, from one plain pass."""
        tokens: list[Tensor] = []
        values: list[Tensor] = []
        leaves: list[Tensor] = []

        def enter(given: Tensor) -> Tensor:
            tokens.append(given[:, : parts.read].clone())
            return given

        def attend(attention: Attention) -> Tensor:
            result = attention.kernel()
            if len(tokens) > len(leaves):  # in a block that counts
                values.append(attention.value)
                leaves.append(result[:, :, : parts.read].clone().requires_grad_())
            return result

        with AttentionMode(attend), watched(parts.blocks, enter):
            logits = query.run(query.images)
        check_whole(values, query.images, query.classifier)
        classes, rows = chosen(query, logits, targets), []
        for block, own, leaf, value in zip(parts.blocks, tokens, leaves, values, strict=True):
            with torch.enable_grad(), Replay(leaf):
                given = block(own)
            with full_precision(query.images.device):
                keys = widen(value).transpose(-2, -1)
                rows.append(
                    [widen(g) @ keys for g in self._gradients(query, parts, given, leaf, classes)]
                )
        return _averaged(rows, query)

    def _of_all(self, query: Query, targets: Tensor | None, parts: VisionTransformer) -> Tensor:
        """Compute maps by the rows of all tokens: each block has a graph from its attention on."""
        weights: list[Tensor] = []
        entered: list[None] = []
        given: list[Tensor] = []

        def enter(tokens: Tensor) -> Tensor:
            entered.append(None)
            return tokens.detach()

        def attend(attention: Attention) -> Tensor:
            if len(weights) == len(entered):
                return attention.kernel()
            weights.append(attention.weights().requires_grad_())
            return attention.applied(weights[-1])

        def leave(tokens: Tensor) -> Tensor:
            given.append(tokens)
            return tokens.detach()

        with torch.enable_grad(), AttentionMode(attend), watched(parts.blocks, enter, leave):
            logits = query.run(query.images)
        check_whole(weights, query.images, query.classifier)
        classes = chosen(query, logits, targets)
        pairs = zip(given, weights, strict=True)
        return _averaged([self._gradients(query, parts, *pair, classes) for pair in pairs], query)

    def _gradients(
        self,
        query: Query,
        parts: VisionTransformer,
        tokens: Tensor,
        leaf: Tensor,
        classes: Tensor,
    ) -> list[Tensor]:
        """Compute the gradient by a leaf of a block's score of each of T classes, (B, T)."""
        with torch.enable_grad():
            if self.pool == "mean":  # as many tokens as a head may look for
                tokens = tokens.mean(dim=1, keepdim=True).expand(-1, parts.prefix + 1, -1)
            scores = query.class_scores(parts.finish(tokens), classes).sum(dim=0)
            return [torch.autograd.grad(s, leaf, retain_graph=True)[0] for s in scores.unbind()]


def _averaged(gradients: Sequence[Sequence[Tensor]], query: Query) -> Tensor:
    """Average positive gradients, per block and class (B, heads, rows, N), to maps (B, T, h, w).

    Rows that are not there are zero.
    """
    rows = [
        [gradient.relu().mean(dim=1).sum(dim=1) / gradient.shape[-1] for gradient in of_block]
        for of_block in gradients
    ]
    maps = [torch.stack(of_class).mean(dim=0) for of_class in zip(*rows, strict=True)]
    return torch.stack([token_map(row, query.classifier, query.images) for row in maps], dim=1)
