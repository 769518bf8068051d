"""The rest of a vision transformer from a block's first norm on, with patches masked there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from learned_saliency.attribution.core.altered import run_size
from learned_saliency.attribution.core.attention import Attention, AttentionMode, Replay
from learned_saliency.attribution.core.query import Query
from learned_saliency.attribution.core.transformer import (
    VisionTransformer,
    check_whole,
    removing,
)
from learned_saliency.ops import full_precision, widen


class RestByBlocks:
    """The rest as it is: each mask is a run of a block and those behind it on all tokens.

    Args:
        query: The batch; one pass of it is made.
        parts: The vision transformer.
        block: Index of the block, negative.

    Attributes:
        logits: Logits (B, C) of the images.
        tokens: Tokens (B, N, K) before the block.
        size: Number of masks that make a run.
    """

    def __init__(self, query: Query, parts: VisionTransformer, block: int) -> None:
        self._parts = parts
        pairs = zip(parts.blocks[block:], parts.norms[block:], strict=True)
        self._blocks = [_Block(*pair) for pair in pairs]
        with ExitStack() as stack:
            for one in self._blocks:
                stack.enter_context(one.seen())
            self.logits = query.run(query.images)
        self._precision = _Precision(query)
        self.tokens = self._precision.convert(self._blocks[0].tokens)
        self.size = run_size(query.images[0].numel(), query.images.device)

    def masked(self, image: int, masks: Tensor) -> Tensor:
        """Compute the logits (R, C) of an image with masks (R, N - P) on its patches."""
        first, *others = self._blocks
        given = self.tokens[image].expand(len(masks), -1, -1)
        with self._precision.context():
            tokens = first.run(given, _with_prefix(masks, self._parts.prefix))
            for block in others:
                tokens = block.run(tokens)
            return self._parts.finish(tokens)


class RestByRow:
    """The rest from the last block on, for the tokens that the head reads, which are not masked.

    Their queries are those of the plain pass, so that a mask shows in keys and values alone: of a
    patch those of its masked token. Of each level of the masks they are computed once, and each
    mask costs one row of attention per token that is read, and the rest of the block on it.

    Args:
        query: The batch; one pass of it is made, up to the attention of the last block.
        parts: The vision transformer, whose head reads tokens before the grid alone.

    Attributes:
        logits: Logits (B, C) of the images.
        tokens: Tokens (B, N, K) before the block.
        size: Number of masks that make a run.
    """

    def __init__(self, query: Query, parts: VisionTransformer) -> None:
        self._parts, self._block = parts, _Block(parts.blocks[-1], parts.norms[-1])
        with self._block.seen():
            whole = _reached(lambda: query.run(query.images), self._block)
        check_whole([whole.value], query.images, query.classifier)
        self._precision = _Precision(query)
        self.tokens = self._precision.convert(self._block.tokens)
        self._own = self.tokens[:, : parts.read]
        key, value = widen(whole.key), widen(whole.value)
        own = widen(whole.query[:, :, : parts.read])
        mask = None if whole.mask is None else whole.mask[..., : parts.read, :]
        self._whole = replace(whole, query=own, key=key, value=value, mask=mask)
        self._levels: dict[float, Attention] = {1.0: self._whole}
        self.logits = self._rest(self._own, self._whole.applied(self._whole.weights()))
        numbers = self._whole.query[0, ..., 0].numel() * self.tokens.shape[1]
        self.size = run_size(numbers, self.tokens.device)

    def masked(self, image: int, masks: Tensor) -> Tensor:
        """Compute the logits (R, C) of an image with masks (R, N - P) on its patches."""
        factors = _with_prefix(masks, self._parts.prefix, 0.0)  # (R, N); the prefix as in a blank
        levels = [level for level in factors.unique().tolist() if level]
        blank, of_level = self._level(0.0), [self._level(level) for level in levels]
        places = [factors == level for level in levels]
        with full_precision(factors.device):
            products = _products(blank, image)  # (heads, p, 1, N), of p tokens that are read
            for place, attention in zip(places, of_level, strict=True):
                products = torch.where(place, _products(attention, image), products)
            weights = products.softmax(dim=-1)  # (heads, p, R, N)
            values = blank.value[image]
            result = torch.einsum("hprn,hnd->rhpd", weights, values)
            for place, attention in zip(places, of_level, strict=True):
                added = attention.value[image] - values
                result = result + torch.einsum("hprn,hnd->rhpd", weights * place, added)
        return self._rest(self._own[image].expand(len(masks), -1, -1), result)

    def _rest(self, tokens: Tensor, result: Tensor) -> Tensor:
        """Compute the logits of tokens (R, p, K) whose attention has a result (R, heads, p, D)."""
        with self._precision.context():
            with Replay(result.to(tokens.dtype)):
                tokens = self._block.block(tokens)
            return self._parts.finish(tokens)

    def _level(self, level: float) -> Attention:
        """Return the attention of all patches at a level of the masks, in [0, 1]."""
        if level not in self._levels:
            self._levels[level] = self._found(level)
        return self._levels[level]

    def _found(self, level: float) -> Attention:
        norms = [m for name, m in self._block.block.named_modules() if name.endswith("k_norm")]
        if level and all(isinstance(norm, nn.Identity) for norm in norms):
            # without a norm keys and values are affine in the tokens
            blank = self._level(0.0)
            key = torch.lerp(blank.key, self._whole.key, level)
            return replace(blank, key=key, value=torch.lerp(blank.value, self._whole.value, level))
        count = self.tokens.shape[1]
        factors = torch.full((count,), level, device=self.tokens.device)
        factors[: self._parts.prefix] = 1
        with self._precision.context():
            found = _reached(lambda: self._block.run(self.tokens, factors), self._block)
        key, value = widen(found.key), widen(found.value)
        return replace(self._whole, key=key, value=value)


class _Precision:
    """Precision of the masked runs: at least float32, but where the weights have less.

    Under autocast differences of their logits would be rounded away, see `Query`.
    """

    def __init__(self, query: Query) -> None:
        weights = query.classifier.parameters()
        self._wide = all(widen(weight).dtype == weight.dtype for weight in weights)
        self._device = query.images.device

    def context(self) -> AbstractContextManager:
        """Switch autocast off where the weights are wide."""
        return full_precision(self._device) if self._wide else nullcontext()

    def convert(self, tokens: Tensor) -> Tensor:
        """Widen tokens where the weights are wide."""
        return widen(tokens) if self._wide else tokens


class _Block:
    """A block, and what it gets in a pass: tokens (B, N, K) and other arguments."""

    def __init__(self, block: nn.Module, norm: nn.Module) -> None:
        self.block, self.norm = block, norm
        self.tokens: Tensor | None = None
        self._extras: dict[str, Any] = {}

    def seen(self) -> AbstractContextManager:
        """Note what the block gets in the pass that is made within."""

        def note(module: nn.Module, args: tuple[Tensor], kwargs: dict[str, Any]) -> None:
            self.tokens, self._extras = args[0], kwargs

        return removing(self.block.register_forward_pre_hook(note, with_kwargs=True))

    def run(self, tokens: Tensor, factors: Tensor | None = None) -> Tensor:
        """Run on tokens (R, N, K); factors (R, N) or (N,) go to the output of its first norm."""
        with ExitStack() as stack:
            if factors is not None:
                hook = partial(_multiply, factors[..., None])
                stack.enter_context(removing(self.norm.register_forward_hook(hook)))
            return self.block(tokens, **self._extras)


def _multiply(factors: Tensor, module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * factors.to(output.dtype)


class _Reached(BaseException):
    """End of a pass at an attention; no exception that a network handles itself."""

    def __init__(self, attention: Attention) -> None:
        self.attention = attention


def _reached(run: Callable[[], Tensor], block: _Block) -> Attention:
    """Make a run up to the first attention after a block has got its tokens; return that."""

    def attend(attention: Attention) -> Tensor:
        if block.tokens is None:
            return attention.kernel()
        raise _Reached(attention)

    try:
        with AttentionMode(attend):
            run()
    except _Reached as reached:
        return reached.attention
    raise ValueError(
        f"{type(block.block).__name__} has no attention that torch's scaled_dot_product_attention "
        "or nn.MultiheadAttention computes; use a CAM method"
    )


def _products(attention: Attention, image: int) -> Tensor:
    """Compute the scaled products (heads, p, 1, N) of an image's p queries and N keys."""
    products = attention.query[image] @ attention.key[image].transpose(-2, -1) * attention.scale
    if attention.mask is not None:  # positions of queries and keys, the same for all images
        products = products + widen(attention.mask[0])
    return products[:, :, None]


def _with_prefix(masks: Tensor, prefix: int, value: float = 1.0) -> Tensor:
    """Put factors of the tokens before the grid before masks (R, N - P)."""
    return torch.cat([masks.new_full((len(masks), prefix), value), masks], dim=1)
