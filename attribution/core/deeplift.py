"""DeepLIFT's rescale rule for any differentiable function, by following its calls."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from learned_saliency.attribution.core.affine import is_affine
from learned_saliency.attribution.core.calls import METADATA, Call, pull_back
from learned_saliency.attribution.core.recording import is_recorded


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names that torch.x, Tensor.x and torch.nn.functional.x share, without a trailing underscore.
_ELEMENTWISE = _names(
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish sigmoid logsigmoid tanh "
    "hardtanh hardsigmoid hardswish hardshrink softshrink tanhshrink softplus softsign threshold "
    "clamp clip clamp_min clamp_max abs exp expm1 log log1p sqrt rsqrt reciprocal square pow erf "
    "div true_divide __truediv__ __rdiv__ __rtruediv__ __pow__ __rpow__ sin cos"
)
_MAXIMUM = _names(
    "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d amax"
)
_AFFINE = _names("batch_norm dropout dropout1d dropout2d dropout3d alpha_dropout")
_BILINEAR = _names("mul multiply __mul__ __rmul__ matmul __matmul__ mm bmm baddbmm")
# Functions of each entry of an axis alone, and that axis, in what they take and give.
_ROWWISE = {"scaled_dot_product_attention": 0, "layer_norm": 0, "group_norm": 0, "rms_norm": 0}
_ROWWISE["multi_head_attention_forward"] = 1  # (tokens, B, K)
_NODES = 24  # number of nodes of the quadrature; the products of two values need one


class Contributions(NamedTuple):
    """Result of `deeplift`.

    Attributes:
        values: Contribution of every input, shape (B, ...); they add up to the difference of the
            two outputs.
        output: F(inputs), shape (B,).
        reference: F(references), shape (B,).
    """

    values: Tensor
    output: Tensor
    reference: Tensor


def deeplift(
    function: Callable[[Tensor], Tensor], inputs: Tensor, references: Tensor
) -> Contributions:
    """Attribute F(inputs) - F(references) to the inputs by DeepLIFT's rescale rule.

    Both runs are followed call by call (`torch.overrides`), so functional code is treated like
    modules, and shapes may change in any way. Going back, each call turns the multipliers of its
    output y into multipliers m of its inputs, with sum_i m_i (x_i - r_i) the same as before:

    * affine calls: their derivative;
    * elementwise functions: (y - y_r) / (x - r), the derivative at x where x - r is below 1e-10,
      or below the square root of the rounding unit times x or r, where both are as exact;
    * max pooling: the change goes to the place of the larger maximum, be it that of x or of r;
    * all other calls (products of two values, attention, layer normalization): the derivative
      averaged along the straight line from r to x, with a quadrature. For elementwise functions
      that average *is* the rescale rule, for products it is the mean of the two operands.

    Args:
        function: F, inputs (B, ...) to outputs (B,), each from its own row alone. Parameters that
            F reads must not require gradients.
        inputs: Shape (B, ...), floating point.
        references: r, the shape of ``inputs``.

    Returns:
        Contributions and both outputs, without graphs.

    Raises:
        ValueError: If shapes do not fit, or the function makes other calls for the references
            than for the inputs.
    """
    if inputs.shape != references.shape:
        raise ValueError(
            f"inputs {tuple(inputs.shape)} and references {tuple(references.shape)} must be alike"
        )
    with torch.no_grad():
        _, reference, start = _follow(function, references)
        source, output, calls = _follow(function, inputs)
        if output.shape != inputs.shape[:1]:
            raise ValueError(f"expected outputs ({len(inputs)},), got {tuple(output.shape)}")
        if [call.signature for call in calls] != [call.signature for call in start]:
            raise ValueError("the head takes another way for zero activations: no DeepLIFT")
        multiplier = _go_back(output, calls, start).get(id(source), torch.zeros_like(inputs))
        values = multiplier * (inputs - references)
    return Contributions(values, output.detach(), reference.detach())


class _Call(Call):
    """One call on values that depend on the inputs, computed with a graph of its own.

    Attributes:
        given: The function's results, as tensors of the run that is followed.
    """

    def __init__(self, function: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
        super().__init__(function, args, kwargs)
        self.leaves, result = self.run(self.taken)
        flat, spec = pytree.tree_flatten(result)
        kept = [i for i, v in enumerate(flat) if isinstance(v, Tensor) and v.requires_grad]
        self.outputs = [flat[i] for i in kept]
        self.given = [value.detach().requires_grad_() for value in self.outputs]
        for i, value in zip(kept, self.given, strict=True):
            flat[i] = value
        self.result = pytree.tree_unflatten(flat, spec)

    @property
    def signature(self) -> tuple[Any, ...]:
        """The function and the shapes, which must be the same in both runs."""
        return (self.name, *(value.shape for value in (*self.taken, *self.given)))

    def pull_back(self, outgoing: list[Tensor | None]) -> list[Tensor | None]:
        """Multiply by the transposed derivative at the values taken."""
        return pull_back(self.outputs, self.leaves, outgoing)


class _Follower(TorchFunctionMode):
    """Record the calls on tensors that require gradients; their results then do, too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
        name = getattr(func, "__name__", "")
        if name in METADATA or not any(tensor.requires_grad for tensor in tensors):
            return func(*args, **kwargs)
        if name == "__get__":  # an attribute: x.shape, or a view such as x.T
            value = func(*args, **kwargs)
            if not isinstance(value, Tensor):
                return value
        call = _Call(func, args, kwargs)
        if call.given:
            self.calls.append(call)
        return call.result


def _go_back(output: Tensor, calls: list[_Call], start: list[_Call]) -> dict[int, Tensor]:
    """Compute the multipliers of the output and of all that it was made of, by tensor identity."""
    multipliers = {id(output): torch.ones_like(output)}
    for call, base in zip(reversed(calls), reversed(start), strict=True):
        incoming = [multipliers.pop(id(value), None) for value in call.given]
        if all(value is None for value in incoming):
            continue
        for value, multiplier in zip(call.taken, _rule(call, base, incoming), strict=True):
            if multiplier is not None:
                known = multipliers.get(id(value))
                multipliers[id(value)] = multiplier if known is None else known + multiplier
    return multipliers


def _follow(
    function: Callable[[Tensor], Tensor], inputs: Tensor
) -> tuple[Tensor, Tensor, list[_Call]]:
    """Run a function; return the leaf that stood for the inputs, the output and the calls."""
    leaf = inputs.detach().requires_grad_()
    with _Follower() as follower:
        output = function(leaf)
    return leaf, output, follower.calls


def _rule(call: _Call, base: _Call, incoming: list[Tensor | None]) -> list[Tensor | None]:
    """Turn the multipliers of a call's outputs into the multipliers of its arguments."""
    if call.name in _AFFINE or all(is_affine(output) for output in call.outputs):
        return call.pull_back(incoming)
    if len(call.taken) == len(call.given) == 1:
        x, y = call.taken[0], call.given[0]
        if call.name in _ELEMENTWISE and x.shape == y.shape:
            return [_elementwise(call, base, incoming[0])]
        if call.name in _MAXIMUM:
            return [_maximum(call, base, incoming[0])]
    return _path(call, base, incoming, nodes=1 if call.name in _BILINEAR else _NODES)


def _elementwise(call: _Call, base: _Call, incoming: Tensor) -> Tensor:
    delta, tiny = _delta(call, base)
    ratio = (call.given[0] - base.given[0]) / torch.where(tiny, 1.0, delta)
    return torch.where(tiny, call.pull_back([incoming])[0], incoming * ratio)


def _maximum(call: _Call, base: _Call, incoming: Tensor) -> Tensor:
    # Where the maximum grew by c, x at its place grew by at least c: the ratio is in (0, 1].
    change = call.given[0] - base.given[0]
    moved = incoming * change
    grown = call.pull_back([torch.where(change >= 0, moved, 0.0)])[0]
    shrunk = base.pull_back([torch.where(change < 0, moved, 0.0)])[0]
    delta, tiny = _delta(call, base)
    multiplier = (grown + shrunk) / torch.where(tiny, 1.0, delta)
    return torch.where(tiny, call.pull_back([incoming])[0], multiplier)


def _path(
    call: _Call, base: _Call, incoming: list[Tensor | None], nodes: int
) -> list[Tensor | None]:
    # t = s**4 crowds the nodes at the reference: x / norm(x) turns within a small step from 0.
    abscissas, weights = np.polynomial.legendre.leggauss(nodes)
    power = 1 if nodes == 1 else 4
    places = (abscissas + 1) / 2
    steps, shares = places**power, weights / 2 * power * places ** (power - 1)
    if is_recorded() and call.name in _ROWWISE:
        return _stacked(call, base, incoming, steps, shares)
    totals: list[Tensor | None] = [None] * len(call.taken)
    for t, share in zip(steps.tolist(), shares.tolist(), strict=True):
        values = [r + t * (x - r) for x, r in zip(call.taken, base.taken, strict=True)]
        for i, part in enumerate(_run_back(call, values, incoming)):
            if part is not None:
                totals[i] = share * part if totals[i] is None else totals[i] + share * part
    return totals


def _stacked(
    call: _Call,
    base: _Call,
    incoming: list[Tensor | None],
    steps: np.ndarray,
    shares: np.ndarray,
) -> list[Tensor | None]:
    """Average along the path by one call for all of its nodes, so that a graph stays small."""
    nodes = len(steps)

    axis = _ROWWISE[call.name]

    def column(numbers: np.ndarray, like: Tensor) -> Tensor:
        values = torch.tensor(numbers, dtype=like.dtype, device=like.device)
        return values.view(nodes, *[1] * (like.dim() - axis))

    def stack(values: Tensor) -> Tensor:
        return values.flatten(axis, axis + 1)

    values = [
        stack(r.unsqueeze(axis) + column(steps, x) * (x - r).unsqueeze(axis))
        for x, r in zip(call.taken, base.taken, strict=True)
    ]
    repeated = [
        None
        if g is None
        else stack(g.unsqueeze(axis).expand(*g.shape[:axis], nodes, *g.shape[axis:]))
        for g in incoming
    ]
    return [
        None if p is None else (p.unflatten(axis, (nodes, -1)) * column(shares, p)).sum(axis)
        for p in _run_back(call, values, repeated)
    ]


def _run_back(
    call: _Call, values: list[Tensor], outgoing: list[Tensor | None]
) -> list[Tensor | None]:
    """Multiply by the transposed derivative at other values."""
    leaves, result = call.run(values)
    outputs = [v for v in pytree.tree_leaves(result) if isinstance(v, Tensor)]
    return pull_back([v for v in outputs if v.requires_grad], leaves, outgoing)


def _delta(call: _Call, base: _Call) -> tuple[Tensor, Tensor]:
    """Compute x - r of a call, and a mask of where x - r is too small to divide by."""
    x, r = call.taken[0].detach(), base.taken[0].detach()
    # At delta = s |x| the quotient is off by eps / s, the derivative by s: alike at s = sqrt(eps).
    least = math.sqrt(torch.finfo(x.dtype).eps) * torch.maximum(x.abs(), r.abs())
    delta = x - r
    return delta, delta.abs() <= least.clamp(min=1e-10)
