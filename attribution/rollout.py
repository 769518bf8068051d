"""Saliency from the attention of vision transformers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.core.tokens import to_grid
from learned_saliency.ops import full_precision, widen


class RawAttention(PostHocMethod):
    """Attention of the class token to the patches in the last block, averaged over heads.

    For timm's vision transformers, whole or split: any model whose attention modules have
    ``q_norm``, ``k_norm`` and ``scale``, softmax attention over all tokens, and square patches.
    The map depends on the image alone, on neither class (paper 000, Sec. 5.3) nor target. Without a
    class token the attention of all tokens is averaged.

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
    queries: list[Tensor] = []
    attentions: list[Tensor] = []

    def keep_query(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        queries.append(output)

    def keep_attention(scale: float) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            with full_precision(output.device):
                products = widen(queries.pop()) @ widen(output).transpose(-2, -1)
            attentions.append((products * scale).softmax(dim=-1).mean(dim=1))

        return hook

    handles = []
    try:
        for module in classifier.modules():
            if all(hasattr(module, name) for name in ("q_norm", "k_norm", "scale", "num_heads")):
                handles.append(module.q_norm.register_forward_hook(keep_query))
                handles.append(module.k_norm.register_forward_hook(keep_attention(module.scale)))
        if not handles:
            raise ValueError(
                f"{type(classifier).__name__} has no attention with q_norm and k_norm, as timm's "
                "vision transformers have; use a CAM method"
            )
        classifier(images)
    finally:
        for handle in handles:
            handle.remove()
    return attentions


def _to_map(attention: Tensor, classifier: nn.Module, images: Tensor) -> Tensor:
    """Take the class token's row of (B, N, N) attention as a grid (B, h, w)."""
    prefix = next(
        (m.num_prefix_tokens for m in classifier.modules() if hasattr(m, "num_prefix_tokens")), 1
    )
    row = attention[:, 0] if prefix else attention.mean(dim=1)
    return to_grid(row[..., None], images.shape[-2:], prefix)[1][:, 0]
