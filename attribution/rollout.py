"""Saliency from the attention of vision transformers."""

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.attention import Attention, AttentionMode, fused
from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.core.transformer import check_whole, prefix_tokens, token_map
from learned_saliency.ops import full_precision


class RawAttention(PostHocMethod):
    """Attention of the class token to the patches in the last block, averaged over heads.

    For the vision transformers of timm and torchvision, whole or split: any model with softmax
    attention over all tokens that `AttentionMode` sees, and square patches. The map depends on the
    image alone, on neither class (paper 000, Sec. 5.3) nor target. Without a class token the
    attention of all tokens is averaged.

    Args:
        **options: See `PostHocMethod`.

    Raises:
        ValueError: When called, if the model has no such attention.
    """

    def _cams(self, query: Query) -> Tensor:
        attention = _attention(query.classifier, query.images)[-1]
        return _to_map(attention, query.classifier, query.images)


class Rollout(RawAttention):
    """Attention rollout (Abnar and Zuidema 2020): raw attention followed through all blocks.

    The product over blocks, first to last, of the head-averaged attention mixed half and half with
    the identity, which stands for the residual connection.

    Args:
        **options: See `PostHocMethod`.

    Raises:
        ValueError: When called, if the model has no such attention.
    """

    def _cams(self, query: Query) -> Tensor:
        attentions = _attention(query.classifier, query.images)
        identity = torch.eye(attentions[0].shape[-1]).to(attentions[0])
        rollout = identity
        with full_precision(rollout.device):
            for attention in attentions:
                rollout = (0.5 * attention + 0.5 * identity) @ rollout
        return _to_map(rollout, query.classifier, query.images)


def _attention(classifier: nn.Module, images: Tensor) -> list[Tensor]:
    """Run the network and return each block's attention, (B, N, N), averaged over heads."""
    attentions: list[Tensor] = []

    def keep(attention: Attention) -> Tensor:
        attentions.append(attention.weights().mean(dim=1))
        return attention.kernel()

    with fused(classifier), AttentionMode(keep):
        classifier(images)
    check_whole(attentions, images, classifier)
    return attentions


def _to_map(attention: Tensor, classifier: nn.Module, images: Tensor) -> Tensor:
    """Take the class token's row of (B, N, N) attention as a grid (B, h, w)."""
    row = attention[:, 0] if prefix_tokens(classifier) else attention.mean(dim=1)
    return token_map(row, classifier, images)
