"""TIBAV, transformer interpretability beyond attention visualization."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learned_saliency.attribution.core.attention import Attention, AttentionMode, fused
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.rules import BackwardRules, Rule, RuledCall
from learned_saliency.attribution.core.transformer import (
    TransformerMethod,
    check_whole,
    chosen,
    token_map,
)
from learned_saliency.ops import full_precision

# Functions that hand relevance on as it is: elementwise ones, norms, and factors that are constant.
_UNCHANGED = (
    *("gelu", "relu", "silu", "sigmoid", "tanh", "hardswish", "softmax", "div", "__truediv__"),
    *("layer_norm", "rms_norm", "group_norm", "batch_norm"),
)
_TINY = 1e-9  # as in the released code, keeps quotients finite


class TIBAV(TransformerMethod):
    """Transformer interpretability beyond attention visualization (Chefer, Gur and Wolf 2021).

    Relevance, 1 at the class's logit, goes back by the rules of Deep Taylor decomposition:

    - linear layers and convolutions share it among the products x_j w_ji >= 0, which is alpha = 1,
      beta = 0 for values of any sign;
    - a sum L of two values u and v gives each its share R^u = u dL/du R / L, and both are scaled to
      R^u |sum R^u| / (|sum R^u| + |sum R^v|) * sum R / sum R^u, so that none is lost or made; of a
      product the shares, which add up to all of it for either factor, are halved;
    - elementwise functions, softmax and norms hand it on.

    With the relevance R and the gradient of the score of each attention A, averaged over heads,

        A_bar = I + E_h (grad A * R)^+,   C = A_bar^(L) ... A_bar^(1)

    the map is the row of C that belongs to the class token; in general the mean of the rows of the
    tokens that the head reads, those whose queries have a gradient in the last block.

    For any network of softmax attention over all tokens that `AttentionMode` sees: the vision
    transformers of timm and torchvision, whole, split, or as backbones.

    Args:
        **options: See `PostHocMethod`.

    Note:
        The paper writes the factors of C in the order of the blocks; the product here is that of
        the released code, in which the last block comes first. The sums of shares are of each
        image; the released code takes them over the batch, and is meant for one image. Scores other
        than the logit give relevance to all logits, in the size of their derivative by them.

    Raises:
        ValueError: When called, if the model has no such attention.
    """

    needs_gradients = True

    def _class_maps(self, query: Query, targets: Tensor | None) -> Tensor:
        weights: list[Tensor] = []

        def attend(attention: Attention) -> Tensor:
            weights.append(attention.weights())
            return attention.applied(weights[-1])

        back = _Back()
        with fused(query.classifier), torch.enable_grad():
            with BackwardRules(back.rules), AttentionMode(attend):
                logits = query.run(query.images.clone().requires_grad_())
            check_whole(weights, query.images, query.classifier)
            classes = chosen(query, logits, targets)
            scores = query.class_scores(logits, classes).sum(dim=0).unbind()
        maps = []
        for score in scores:
            back.relevance = False
            gradients = torch.autograd.grad(score, weights, retain_graph=True)
            back.relevance = True
            relevances = torch.autograd.grad(score, weights, retain_graph=True)
            row = _rolled_out(gradients, relevances)
            maps.append(token_map(row, query.classifier, query.images))
        return torch.stack(maps, dim=1)


def _rolled_out(gradients: Sequence[Tensor], relevances: Sequence[Tensor]) -> Tensor:
    """Multiply the A_bar of all blocks, last to first, from the left by the rows that are read.

    Of the row (B, N) that comes out its beginning is left out, which is equal in all patches and
    would round their differences away.
    """
    read = (gradients[-1] != 0).any(dim=3).any(dim=1)
    first = read / read.sum(dim=1, keepdim=True).clamp(min=1)
    first = first.to(gradients[-1].dtype)
    row = torch.zeros_like(first)
    with full_precision(row.device):
        for gradient, relevance in zip(reversed(gradients), reversed(relevances), strict=True):
            mean = (gradient * relevance).relu().mean(dim=1)
            row = row + torch.einsum("bi,bij->bj", first + row, mean)
    return row


class _Back:
    """Rules of one run for two ways back: that of relevance, and that of the gradient.

    Attributes:
        relevance: Which way the next backward pass goes.
        rules: The rules, see `BackwardRules`.
    """

    def __init__(self) -> None:
        self.relevance = True
        rules: dict[str, Rule] = dict.fromkeys(_UNCHANGED, _unchanged)
        rules |= dict.fromkeys(("linear", "conv2d"), _positive)
        rules |= dict.fromkeys(("matmul", "__matmul__", "bmm", "mul", "__mul__"), _product)
        rules |= dict.fromkeys(("add", "__add__", "__iadd__"), _sum)
        rules["mean"] = _shares
        self.rules = {name: self._either(rule) for name, rule in rules.items()}

    def _either(self, rule: Rule) -> Rule:
        def chosen_rule(call: RuledCall, handed: Tensor) -> Sequence[Tensor | None]:
            if self.relevance:
                return rule(call, handed)
            if call.name == "linear":  # without running it again
                return [handed @ call.argument(1, "weight")]
            return call.pull_back(handed)

        return chosen_rule


def _unchanged(call: RuledCall, relevance: Tensor) -> list[Tensor]:
    return [relevance]


def _positive(call: RuledCall, relevance: Tensor) -> list[Tensor]:
    """Share among products that are not negative: |x| w^+ + x^- w = x^+ w^+ + x^- w^-."""
    (x,) = call.taken
    weight = call.argument(1, "weight")
    no_bias = {(2, "bias"): None}
    (size,), first = call.run([x.abs()], {(1, "weight"): weight.clamp(min=0), **no_bias})
    (negative,), second = call.run([x.clamp(max=0)], no_bias)
    share = _ratio(relevance, (first + second).detach())
    by_size, by_negative = torch.autograd.grad([first, second], [size, negative], [share, share])
    return [size.detach() * by_size + negative.detach() * by_negative]


def _shares(call: RuledCall, relevance: Tensor) -> list[Tensor]:
    """Compute R^u = u dL/du R / L of each value that is taken."""
    leaves, result = call.run(call.taken)
    shares = torch.autograd.grad(result, leaves, _ratio(relevance, result.detach()))
    return [leaf.detach() * share for leaf, share in zip(leaves, shares, strict=True)]


def _product(call: RuledCall, relevance: Tensor) -> list[Tensor]:
    """Share among two factors; a constant one leaves all to the other."""
    if len(call.taken) == 1:
        return _shares(call, relevance)
    return [share / 2 for share in _shares(call, relevance)]


def _sum(call: RuledCall, relevance: Tensor) -> list[Tensor]:
    """Share among two summands and scale; what has another shape is no skip connection."""
    pair = call.argument(0, "input"), call.argument(1, "other")
    if not all(isinstance(one, Tensor) and one.shape == relevance.shape for one in pair):
        return [relevance if one.shape == relevance.shape else None for one in call.taken]
    ratio = _ratio(relevance, pair[0] + pair[1])
    shares = [one * ratio for one in pair]
    totals = [share.flatten(1).sum(dim=1) for share in shares]
    size = totals[0].abs() + totals[1].abs()
    whole = relevance.flatten(1).sum(dim=1)
    scaled = []
    for share, total in zip(shares, totals, strict=True):
        factor = _ratio(_ratio(total.abs(), size) * whole, total)
        scaled.append(share * factor.view(-1, *[1] * (share.dim() - 1)))
    return [share for one, share in zip(pair, scaled, strict=True) if _among(one, call.taken)]


def _among(value: Tensor, taken: Sequence[Tensor]) -> bool:
    return any(value is one for one in taken)


def _ratio(values: Tensor, by: Tensor) -> Tensor:
    """Divide, by nothing smaller than about 1e-9; 0 where ``by`` is 0."""
    moved = by + torch.where(by < 0, -_TINY, _TINY)
    return torch.where(by == 0, 0.0, values / moved)
