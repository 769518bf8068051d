"""Attention that a vision transformer's class token pays to the patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from timm.layers import Attention
from torch import Tensor, nn

from learned_saliency.ops import full_precision, widen


def check_class_attention(network: nn.Module, name: str) -> None:
    """Raise ValueError unless a network of timm has a class token and timm's plain attention.

    Args:
        network: The network.
        name: Its name, for the message.
    """
    if getattr(network, "cls_token", None) is None:
        raise ValueError(f"backbone '{name}' has no class token, whose attention is read")
    kinds = {type(getattr(block, "attn", None)) for block in network.blocks}
    if kinds != {Attention}:
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"backbone '{name}' has attention of another kind ({found}) than DeiT's, from which a "
            "class token's cannot be read; choose a ViT, DeiT, CLIP or DINOv2"
        )


@contextmanager
def class_attention(network: nn.Module) -> Iterator[list[Tensor]]:
    """Read the class token's attention in every block, while the network runs within.

    Hooks see the queries and keys that the network computes itself; its results stay what they are.
    Only the class token's row of each attention matrix is computed. No graph is recorded.

    Args:
        network: Network of timm that passes `check_class_attention`.

    Yields:
        A list that gets a map for each block: weights of the patches (B, N), means over the heads,
        at least float32. They add up to 1 with those of the class token itself and other tokens
        that are no patches.
    """
    rows: list[Tensor] = []
    with ExitStack() as hooks:
        for block in network.blocks:
            queries: list[Tensor] = []
            for module, hook in (
                (block.attn.q_norm, _keep(queries)),
                (block.attn.k_norm, _read(queries, rows, block.attn, network.num_prefix_tokens)),
            ):
                hooks.callback(module.register_forward_hook(hook).remove)
        yield rows


def _keep(queries: list[Tensor]) -> Callable[..., None]:
    """Make a hook that keeps the class token's queries (B, heads, 1, D), the first ones."""

    def hook(module: nn.Module, args: tuple[Tensor], result: Tensor) -> None:
        queries.append(result[:, :, :1])

    return hook


def _read(
    queries: list[Tensor], rows: list[Tensor], attention: Attention, prefix: int
) -> Callable[..., None]:
    """Make a hook that multiplies the kept queries with the keys (B, heads, prefix + N, D)."""

    def hook(module: nn.Module, args: tuple[Tensor], result: Tensor) -> None:
        with torch.no_grad(), full_precision(result.device):
            query, keys = widen(queries.pop()), widen(result)
            weights = (attention.scale * query @ keys.transpose(-2, -1)).softmax(dim=-1)
            rows.append(weights[:, :, 0, prefix:].mean(dim=1))

    return hook
