"""Vision transformers: their blocks, what follows them, and maps of their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from learned_saliency.attribution.core.classifier import SharedFeatures
from learned_saliency.attribution.core.inputs import run_plainly
from learned_saliency.attribution.core.joint import JointMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.outputs import Outputs, find_scores
from learned_saliency.attribution.core.split import SplitClassifier
from learned_saliency.attribution.core.tokens import to_grid
from learned_saliency.ops import activation_of, widen


class TransformerMethod(JointMethod):
    """A method whose runs of the network serve all classes of an image.

    A subclass supplies `_class_maps`, which gets the classes as they were given, None for the
    query's own, and makes the only pass of the whole network: `chosen` tells it the classes.
    """

    def _classes(self, query: Query, targets: Tensor | None) -> Tensor | None:
        return targets


def chosen(query: Query, logits: Tensor, targets: Tensor | None) -> Tensor:
    """Choose the classes (B, T), int64, from the logits (B, C) that a method's own pass gave.

    The query takes these logits for its own, so that it makes no pass.
    """
    query.logits = logits.detach()
    return query.targets[:, None] if targets is None else query.checked(targets)


class VisionTransformer(NamedTuple):
    """Parts of a plain vision transformer.

    Attributes:
        blocks: Its blocks, first to last.
        norms: The first normalization of each block.
        prefix: Number P of tokens before the grid.
        read: Number of the first tokens, at most P, that are all that the head reads; 0 if it reads
            others.
        finish: What follows the blocks: tokens (R, N, K) to logits (R, C), at least float32.
    """

    blocks: Sequence[nn.Module]
    norms: Sequence[nn.Module]
    prefix: int
    read: int
    finish: Callable[[Tensor], Tensor]


def vision_transformer(classifier: nn.Module, method: str) -> VisionTransformer:
    """Find the parts of a classifier that is a vision transformer of timm or torchvision.

    Args:
        classifier: The network, or a `split` of it.
        method: Name of the method that needs them, for the message.

    Raises:
        ValueError: If it is another network, or one within another.
    """
    network, outputs = _network(classifier)
    activation = activation_of(classifier)
    blocks, head = getattr(network, "blocks", None), getattr(network, "forward_head", None)
    known = ("norm", "num_prefix_tokens", "global_pool")
    if blocks is not None and head is not None and all(hasattr(network, x) for x in known):
        prefix, layers, name = network.num_prefix_tokens, list(blocks), "norm1"
        pooled = getattr(network, "attn_pool", None) or network.global_pool != "token"
        read = 0 if pooled else 1 if getattr(network, "dist_token", None) is None else 2
        parts = network.norm, head
    elif hasattr(network, "class_token") and hasattr(getattr(network, "encoder", None), "ln"):
        prefix, read, layers, name = 1, 1, list(network.encoder.layers), "ln_1"
        parts = network.encoder.ln, lambda tokens: network.heads(tokens[:, 0])
    else:
        layers = []
    if not layers or not all(isinstance(getattr(x, name, None), nn.Module) for x in layers):
        raise ValueError(
            f"{method} reads blocks and head of a vision transformer of timm or torchvision that "
            f"is the whole network, not {type(network).__name__}; use AttnLRP or a CAM method"
        )

    def finish(tokens: Tensor) -> Tensor:
        norm, rest = parts
        batch = tokens.shape[0]
        return widen(find_scores(rest(norm(tokens)), batch, outputs, activation))

    norms = [getattr(layer, name) for layer in layers]
    return VisionTransformer(layers, norms, prefix, min(prefix, read), finish)


def _network(classifier: nn.Module) -> tuple[nn.Module, Outputs | None]:
    """Take a network out of what wraps it here; return the function of its outputs, too."""
    outputs = None
    while True:
        if isinstance(classifier, SharedFeatures):
            classifier = classifier.classifier
        elif isinstance(classifier, SplitClassifier) and classifier.call is run_plainly:
            classifier, outputs = classifier.model, classifier.outputs
        else:
            return classifier, outputs


@contextmanager
def watched(
    blocks: Sequence[nn.Module],
    before: Callable[[Tensor], Tensor],
    after: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[None]:
    """Let functions see, and change, the tokens (B, N, K) that blocks get and give.

    Args:
        blocks: The blocks.
        before: Function of what a block gets to what it gets instead.
        after: Function of what it gives to what it gives instead; None for none.
    """

    def given(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return before(args[0]), *args[1:]

    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(removing(block.register_forward_pre_hook(given)))
            if after is not None:
                handle = block.register_forward_hook(lambda module, args, output: after(output))
                stack.enter_context(removing(handle))
        yield


@contextmanager
def removing(handle: Any) -> Iterator[None]:
    """Remove the hook of a handle at the end."""
    try:
        yield
    finally:
        handle.remove()


def check_whole(attentions: Sequence[Tensor], images: Tensor, classifier: nn.Module) -> None:
    """Check that attention was seen, and that each token of an image attends to all of them.

    Args:
        attentions: Attention, or anything of its form: (B, ..., N, N).
        images: The images (B, 3, H, W).
        classifier: The network, for the message.

    Raises:
        ValueError: If there is no such attention.
    """
    network = type(_network(classifier)[0]).__name__
    if not attentions:
        raise ValueError(
            f"{network} has no attention that torch's scaled_dot_product_attention or "
            "nn.MultiheadAttention computes, as the vision transformers of timm and torchvision "
            "have; use a CAM method"
        )
    if any(a.shape[0] != len(images) or a.shape != attentions[0].shape for a in attentions):
        raise ValueError(
            f"{network} has attention within windows, or of tokens that become fewer: no row of it "
            "belongs to the image; use AttnLRP or a CAM method"
        )


def prefix_tokens(classifier: nn.Module) -> int:
    """Find how many tokens are before the grid; 1 where the network does not say."""
    known = (m.num_prefix_tokens for m in classifier.modules() if hasattr(m, "num_prefix_tokens"))
    return next(known, 1)


def token_map(row: Tensor, classifier: nn.Module, images: Tensor) -> Tensor:
    """Bring values of all tokens, (B, N), to the grid of the patches, (B, h, w)."""
    return to_grid(row[..., None], images.shape[-2:], prefix_tokens(classifier))[1][:, 0]
