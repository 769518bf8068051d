"""Backward rules that share what comes back among the values that a function has added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from learned_saliency.attribution.core.calls import names, pull_back
from learned_saliency.attribution.core.rules import Rule, RuledCall

Others = Mapping[tuple[int, str], Any]

# Functions of each value alone, or that only scale and shift a channel, which hand all of it on.
_PASSED = names(
    "relu relu6 hardtanh leaky_relu prelu elu selu celu gelu silu mish hardswish hardsigmoid "
    "sigmoid tanh softplus clamp clamp_min clip threshold layer_norm group_norm instance_norm "
    "rms_norm"
)
_PRODUCTS = names("matmul __matmul__ mm bmm")
_WEIGHTED = names("conv1d conv2d conv3d linear") | _PRODUCTS
_SUMS = names(
    "add __add__ __radd__ __iadd__ sub __sub__ __isub__ sum mean avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
)
_SCALES = names(
    "neg __neg__ mul multiply __mul__ __rmul__ __imul__ div true_divide __truediv__ __itruediv__"
)

#: Functions that choose a value, whose derivative hands all of it to the one that was chosen.
CHOICES = names("max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d amax max")


def epsilon_rules(epsilon: float) -> dict[str, Rule]:
    """Give the epsilon rule of layer-wise relevance propagation (Bach et al. 2015, Eq. 58).

    An affine function z_j = sum_i z_ij + b_j, z_ij = w_ij x_i, hands on

        R_i = sum_j z_ij / (z_j + epsilon sign(z_j)) R_j

    so that the share of the bias b_j is lost. Activation functions hand on all, and so do layer
    normalization and its like; gates (a product of two values of different shapes) hand all to what
    they scale, equal products half to each; max pooling to the largest.

    Args:
        epsilon: Least size of the divisor, at least 0; where it is 0, nothing is handed on.
    """

    def shared(call: RuledCall, relevance: Tensor) -> list[Tensor | None]:
        return _shared(call, relevance, call.taken, epsilon)

    def scaled(call: RuledCall, relevance: Tensor) -> list[Tensor | None]:
        return (shared if len(call.taken) == 1 else _gated)(call, relevance)

    rules: dict[str, Rule] = dict.fromkeys(_WEIGHTED | _SUMS | {"batch_norm"}, shared)
    return rules | _common(scaled)


def positive_rules(image: Tensor | None = None) -> dict[str, Rule]:
    """Give the rules of excitation backpropagation (Zhang et al. 2016).

    A layer with weights w and activations x shares the winning probability P_j among its inputs,

        P_i = sum_j w+_ij x+_i / (sum_k w+_kj x+_k) P_j

    without its bias; it is the z+ (alpha 1, beta 0) rule of layer-wise relevance propagation. Sums
    (pooling, residual additions) do so with weights of one. Where P_j is negative, as that of the
    dual unit of a contrast, the weights have the other sign. Activation functions and normalization
    hand on all; gates and max pooling as in `epsilon_rules`.

    Args:
        image: The image (B, 3, H, W) that the network reads, whose values count from the smallest
            of each color, since they are not activations; None if it does not start there.
    """

    def positive(call: RuledCall) -> list[Tensor]:
        if image is not None and call.takes(image):
            return [value - value.amin((2, 3), keepdim=True) for value in call.taken]
        return [value.relu() for value in call.taken]

    def summed(call: RuledCall, probability: Tensor) -> list[Tensor | None]:
        return _shared(call, probability, positive(call), 0.0)

    def weighted(call: RuledCall, probability: Tensor) -> list[Tensor | None]:
        values, total = positive(call), None
        for sign in (1, -1):
            part = (sign * probability).relu()
            if not bool(part.any()):
                continue
            given = _shared(call, part, values, 0.0, _rectified(call, sign))
            total = (
                given
                if total is None
                else [_plus(*pair) for pair in zip(total, given, strict=True)]
            )
        return total or [None] * len(values)

    rules: dict[str, Rule] = dict.fromkeys(_SUMS, summed) | dict.fromkeys(_WEIGHTED, weighted)
    return rules | _common(_signed) | {"batch_norm": _passed}


def _common(scaled: Rule) -> dict[str, Rule]:
    return dict.fromkeys(_PASSED, _passed) | dict.fromkeys(_SCALES, scaled)


def _shared(
    call: RuledCall,
    given: Tensor,
    values: Sequence[Tensor],
    epsilon: float,
    others: Others | None = None,
) -> list[Tensor | None]:
    """Share what came back by each value's part of the function of ``values`` that is affine."""
    leaves, result = call.run(values, others)
    divisor = result.detach()
    if epsilon:
        divisor = divisor + torch.where(divisor < 0, -epsilon, epsilon)
    quotient = torch.where(divisor == 0, 0.0, given / torch.where(divisor == 0, 1.0, divisor))
    parts = pull_back([result], leaves, [quotient])
    return [
        None if part is None else value * part for value, part in zip(leaves, parts, strict=True)
    ]


def _rectified(call: RuledCall, sign: int) -> dict[tuple[int, str], Any]:
    """Give the arguments of a weighted sum in whose place others come: weights of one sign."""
    if call.name in _PRODUCTS:
        place = (1, "other") if call.takes_at(0, "input") else (0, "input")
        return {place: (sign * call.argument(*place)).relu()}
    weight = call.argument(1, "weight")
    return {(1, "weight"): (sign * weight).relu(), (2, "bias"): None}


def _passed(call: RuledCall, given: Tensor) -> list[Tensor | None]:
    return [given, *[None] * (len(call.taken) - 1)]


def _signed(call: RuledCall, given: Tensor) -> list[Tensor | None]:
    if len(call.taken) != 1:
        return _gated(call, given)
    (scaled,) = call.pull_back(given)
    return [scaled.sign() * given.abs() if scaled.shape == given.shape else scaled]


def _gated(call: RuledCall, given: Tensor) -> list[Tensor | None]:
    alike = [value.shape == given.shape for value in call.taken]
    return [given / sum(alike) if same else None for same in alike]


def _plus(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return first if second is None else second if first is None else first + second
