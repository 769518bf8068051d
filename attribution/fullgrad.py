"""FullGrad."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from learned_saliency.attribution.core.calls import Call, names, pull_back
from learned_saliency.attribution.core.maps import resize
from learned_saliency.attribution.core.method import PostHocMethod, Query
from learned_saliency.attribution.core.pixels import gradient_within
from learned_saliency.ops import widen

RESCALED = ("layer", "channel")
_CONVOLUTIONS = names("conv1d conv2d conv3d conv_transpose2d")
_SUMS = names("add __add__ __radd__ __iadd__ sub __sub__ __isub__")
_MATRICES = names("matmul __matmul__ bmm")
_PRODUCTS = names("mul __mul__ __imul__") | _MATRICES
# Functions of each value alone that do not scale with it; ReLUs do, and have no bias.
_CURVES = names(
    "relu6 hardtanh elu selu celu gelu silu mish hardswish hardsigmoid sigmoid tanh softplus clamp "
    "clamp_min threshold"
)

#: ``take(gradient, bias, axis)``: the gradient by an output, its bias and its axis of channels,
#: None if its other axes are those of a product of matrices, not of an image.
Take = Callable[[Tensor, Tensor, int | None], None]


class FullGrad(PostHocMethod):
    """FullGrad (Srinivas and Fleuret 2019).

    A network of ReLUs is the sum of its gradients times what they belong to: the image, and the
    bias b of each layer, all cells of its output z alike,

        f_c(x) = sum of df_c/dx * x + sum over layers of df_c/dz * b

    where the bias of batch normalization is beta - gamma mean / sigma, and that of a curved
    activation function eta is eta(z) - eta'(z) z (implicit biases). The map adds up the
    sizes of these terms:

        S(x) = psi(df_c/dx * x) + sum over layers and channels of psi(df_c/dz * b),
        psi = upsample(rescale(|.|))

    with rescaling to [0, 1]. It is one forward and one backward pass. The sum is exact for
    convolutions, linear layers, batch normalization, pooling, sums and products, and functions of
    each value alone; layer normalization and attention miss biases.

    Note:
        * Layers without positions (the last ones) are in the sum but have no map, as in the
          released code, and so are tokens, products within attention and layers within windows.
        * The released code rescales a layer as a whole, the default here; pytorch-grad-cam each
          channel, ``rescaled="channel"``, which is how the formula may be read.
        * The released code adds 1e-6 to the range that it divides by, and resizes with aligned
          corners; here nothing is added, and pixels have their centers at halves.

    Args:
        rescaled: What psi brings to [0, 1]: ``"layer"`` or ``"channel"``.
        simple: Whether layers with a bias count by their gradient alone, as if all biases were one
            (simple FullGrad in the released code).
        batch_size: Images in one pass of the network, at least 1; bounds memory.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If an option is out of its range.
    """

    needs_gradients = True

    def __init__(
        self,
        *,
        rescaled: str = "layer",
        simple: bool = False,
        batch_size: int = 32,
        **options: str,
    ) -> None:
        super().__init__(**options)
        if rescaled not in RESCALED:
            raise ValueError(f"rescaled must be one of {RESCALED}, got {rescaled!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.rescaled = rescaled
        self.simple = simple
        self.batch_size = batch_size

    def _cams(self, query: Query) -> Tensor:
        every = torch.arange(len(query.images), device=query.images.device)
        return torch.cat([self._maps(query, rows) for rows in every.split(self.batch_size)])

    def _maps(self, query: Query, rows: Tensor) -> Tensor:
        """Compute the maps (R, H, W) of the images ``rows`` (R,)."""
        by_size: dict[tuple[int, int], Tensor] = {}

        def add(term: Tensor) -> None:
            term, size = self._rescaled(term), tuple(term.shape[-2:])
            by_size[size] = by_size[size] + term if size in by_size else term

        def take(gradient: Tensor, bias: Tensor, axis: int | None) -> None:
            if gradient.dim() == 4 and len(gradient) == len(rows) and axis is not None:
                term = gradient if self.simple else gradient * bias
                add(term.movedim(axis, 1))

        gradient, _ = gradient_within(query, rows, BiasGradients(take))
        add(gradient * query.images[rows])
        size = query.images.shape[-2:]
        return sum(resize(maps, size, self.interpolation) for maps in by_size.values())

    def _rescaled(self, term: Tensor) -> Tensor:
        """Bring the sizes of a term (R, C, h, w) to [0, 1], and add up its channels, (R, h, w)."""
        sizes = term.abs()
        dims = (1, 2, 3) if self.rescaled == "layer" else (2, 3)
        low, high = sizes.amin(dims, keepdim=True), sizes.amax(dims, keepdim=True)
        span = high - low
        share = torch.where(span == 0, 0.0, 1 / torch.where(span == 0, 1.0, span))
        return ((sizes - low) * share).sum(dim=1)


class BiasGradients(TorchFunctionMode):
    """Hand over the biases of a network's functions with the gradients by their outputs.

    Args:
        take: Called in the backward pass for each bias: with the gradient, at least float32, the
            bias, which multiplies it by broadcasting, and the axis of the channels, see `Take`.
    """

    def __init__(self, take: Take) -> None:
        super().__init__()
        self._take = take
        self._axis: int | None = 1  # axis of the channels after the latest layer, which curves keep

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = Call(func, args, kwargs)
        if not call.taken or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        bias = self._bias(call)
        result = func(*args, **kwargs)
        if call.name in _PRODUCTS and len(call.taken) == 2:
            bias = -result.detach()  # the derivative has the product twice
            if call.name in _MATRICES:
                self._axis = None
        if bias is not None and result.requires_grad:
            bias, axis = widen(bias), self._axis
            result.register_hook(lambda gradient: self._take(widen(gradient), bias, axis))
        return result

    def _bias(self, call: Call) -> Tensor | None:
        """Compute what a call adds to a multiple of what it takes, or None."""
        values = [value.detach() for value in call.taken]
        args, kwargs = call.arguments(values)
        if call.name in _CONVOLUTIONS or call.name == "linear":
            self._axis = -1 if call.name == "linear" else 1
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            spatial = values[0].dim() - 2 if call.name in _CONVOLUTIONS else 0
            return None if bias is None else bias.view(-1, *[1] * spatial)
        if call.name == "batch_norm":
            self._axis = 1
            cell = values[0].new_zeros(1, values[0].shape[1], *[1] * (values[0].dim() - 2))
            return _at(call, cell)
        if call.name in _SUMS and len(call.taken) == 1:
            return _at(call, torch.zeros_like(values[0]))
        if call.name in _CURVES:
            leaves, result = call.run(values)
            (slope,) = pull_back([result], leaves, [torch.ones_like(result)])
            return result.detach() - slope * values[0]
        return None


def _at(call: Call, value: Tensor) -> Tensor:
    """Call a function of one value at another."""
    args, kwargs = call.arguments([value])
    with torch.no_grad():
        return call.function(*args, **kwargs)
