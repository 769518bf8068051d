"""Softmax attention of a network, seen and replaced while the network runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from learned_saliency.attribution.core.calls import name_of
from learned_saliency.ops import full_precision, widen

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


@dataclass
class Attention:
    """One attention of a network, as it is about to be computed.

    Attributes:
        query: Queries (B, heads, N, D), with normalization and positions, before the scale.
        key: Keys (B, heads, N, D).
        value: Values (B, heads, N, D).
        scale: Factor of the products of queries and keys.
        mask: Added to the products, or where it is boolean, False forbids a key; None for none.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    mask: Tensor | None = None

    def weights(self) -> Tensor:
        """Compute softmax(scale Q K^T + mask), (B, heads, N, N), at least float32."""
        with full_precision(self.query.device):
            products = torch.matmul(widen(self.query), widen(self.key).transpose(-2, -1))
            products = torch.mul(products, self.scale)
            if self.mask is not None and self.mask.dtype == torch.bool:
                products = products.masked_fill(~self.mask, float("-inf"))
            elif self.mask is not None:
                products = torch.add(products, widen(self.mask))
            return torch.softmax(products, -1)

    def applied(self, weights: Tensor) -> Tensor:
        """Compute what weights (B, heads, N, N) make of the values, in the values' type."""
        with full_precision(weights.device):
            return torch.matmul(weights, widen(self.value)).to(self.value.dtype)

    def kernel(self) -> Tensor:
        """Compute the result as the network does, (B, heads, N, D)."""
        return F.scaled_dot_product_attention(
            self.query, self.key, self.value, attn_mask=self.mask, scale=self.scale
        )


class AttentionMode(TorchFunctionMode):
    """Hand every self-attention of a network that runs within to a function.

    It sees torch's ``scaled_dot_product_attention`` and ``nn.MultiheadAttention`` without masks,
    which are made of it and of linear layers; timm's networks use the first within `fused`. What
    the function computes in their place, modes further out see, such as `BackwardRules`.

    Args:
        attend: Function of an `Attention` to its result (B, heads, N, D).
    """

    def __init__(self, attend: Callable[[Attention], Tensor]) -> None:
        super().__init__()
        self._attend = attend

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        if name == "scaled_dot_product_attention":
            found = _of_kernel(*args, **kwargs)
            return func(*args, **kwargs) if found is None else self._attend(found)
        if name == "multi_head_attention_forward":
            given = _MULTI_HEAD.bind(*args, **kwargs)
            given.apply_defaults()
            if _is_plain(given.arguments):
                return self._multi_head(**given.arguments), None
        return func(*args, **kwargs)

    def _multi_head(
        self,
        query: Tensor,
        num_heads: int,
        in_proj_weight: Tensor,
        in_proj_bias: Tensor | None,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        **others: Any,
    ) -> Tensor:
        """Compute attention of tokens (N, B, E) among themselves as nn.MultiheadAttention does."""
        projected = self._projected(query, in_proj_weight, in_proj_bias)
        heads = projected.unflatten(-1, (3, num_heads, -1)).permute(2, 1, 3, 0, 4)
        found = _of_kernel(*heads.unbind(0))  # (B, heads, N, D) each
        result = self._attend(found).permute(2, 0, 1, 3).flatten(2)
        return F.linear(result, out_proj_weight, out_proj_bias)

    def _projected(self, tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute queries, keys and values, packed in the last axis."""
        return F.linear(tokens, weight, bias)


class Replay(AttentionMode):
    """Let a block have a known result of its attention, and compute no queries, keys or values.

    A linear layer before the attention that packs the three of them gives zeros instead.

    Args:
        result: The result (B, heads, N, D).
    """

    def __init__(self, result: Tensor) -> None:
        super().__init__(self._known)
        self._result = result
        self._packed = 3 * result.shape[1] * result.shape[3]
        self._before = True

    def _known(self, attention: Attention) -> Tensor:
        self._before = False
        return self._result

    def _projected(self, tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self._before or weight.shape[0] != self._packed:
            return F.linear(tokens, weight, bias)
        return tokens.new_zeros(()).expand(*tokens.shape[:-1], self._packed)

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is F.linear:
            return self._projected(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def _of_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Attention | None:
    """Read the arguments of the kernel; None for other attention than of N tokens on all others."""
    if query.dim() != 4 or query.shape != key.shape or is_causal or dropout_p:
        return None
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return Attention(query, key, value, scale, attn_mask)


def _is_plain(given: dict[str, Any]) -> bool:
    """Return whether arguments of nn.MultiheadAttention are self-attention without extras."""
    absent = ("bias_k", "bias_v", "key_padding_mask", "attn_mask", "static_k", "static_v")
    same = given["query"] is given["key"] and given["key"] is given["value"]
    extras = given["add_zero_attn"] or given["use_separate_proj_weight"] or given["need_weights"]
    return same and not extras and all(given[name] is None for name in absent)


@contextmanager
def fused(network: nn.Module) -> Iterator[None]:
    """Let timm's attention use torch's kernel, which `AttentionMode` sees; then as before."""
    plain = [module for module in network.modules() if getattr(module, "fused_attn", None) is False]
    try:
        for module in plain:
            module.fused_attn = True
        yield
    finally:
        for module in plain:
            module.fused_attn = False
