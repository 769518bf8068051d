"""Derivatives that torch has as one operation each, as operations that every format knows.

An adjoint takes the gradient by an operation's output to that by its input. torch decomposes most
of them itself (activations, normalization, softmax); here are those of convolution and pooling.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

aten = torch.ops.aten
_Sizes = Sequence[int]


def convolution_backward(
    gradients: Tensor,
    inputs: Tensor,
    weight: Tensor,
    bias_sizes: _Sizes | None,
    stride: _Sizes,
    padding: _Sizes,
    dilation: _Sizes,
    transposed: bool,
    output_padding: _Sizes,
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, None, None]:
    """Pull gradients back through a convolution, as a transposed one, or the other way round.

    Args:
        gradients: By the convolution's output, shape (B, L, h', ...).
        inputs: Shape (B, K, h, ...); its form alone is used.
        weight: The kernel, which the inputs' gradients alone are wanted for.
        bias_sizes: Shape of the bias.
        stride: See `torch.nn.functional.conv2d`, as for the other options.
        padding: One number per axis of space.
        dilation: Likewise.
        transposed: Whether the convolution is a transposed one.
        output_padding: Of a transposed convolution.
        groups: Number of groups of channels.
        output_mask: Whether gradients by inputs, weight and bias are wanted.

    Raises:
        NotImplementedError: If gradients by weight or bias are wanted.
    """
    if output_mask[1] or output_mask[2]:
        raise NotImplementedError("a graph holds no gradients of weights")
    if not output_mask[0]:
        return None, None, None
    axes = range(len(stride))
    missing = [0 for _ in axes]
    if not transposed:  # pixels at the far edge that no window reached
        reached = [
            (gradients.shape[2 + i] - 1) * stride[i]
            - 2 * padding[i]
            + dilation[i] * (weight.shape[2 + i] - 1)
            + 1
            for i in axes
        ]
        missing = [inputs.shape[2 + i] - reached[i] for i in axes]
    found = aten.convolution(
        gradients, weight, None, stride, padding, dilation, not transposed, missing, groups
    )
    return found, None, None


def max_pool2d_backward(
    gradients: Tensor,
    inputs: Tensor,
    kernel_size: _Sizes,
    stride: _Sizes,
    padding: _Sizes,
    dilation: _Sizes,
    ceil_mode: bool,
    indices: Tensor,
) -> Tensor:
    """Give each maximum's gradient (B, K, h', w') to the place that it came from, (B, K, h, w)."""
    return adaptive_max_pool2d_backward(gradients, inputs, indices)


def adaptive_max_pool2d_backward(gradients: Tensor, inputs: Tensor, indices: Tensor) -> Tensor:
    """Give each maximum's gradient (B, K, h', w') to the place that it came from, (B, K, h, w)."""
    zeros = torch.zeros_like(inputs).flatten(2)
    found = zeros.scatter_add(2, indices.flatten(2), gradients.flatten(2))
    return found.unflatten(2, inputs.shape[2:])


def avg_pool2d_backward(
    gradients: Tensor,
    inputs: Tensor,
    kernel_size: _Sizes,
    stride: _Sizes,
    padding: _Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Pull gradients (B, K, h', w') back through average pooling, to (B, K, h, w)."""
    kernel, pad = _pair(kernel_size), _pair(padding)
    step = _pair(stride) if len(stride) else kernel

    def pool(axis: int, lines: Tensor) -> Tensor:
        window = [kernel[axis], 1], [step[axis], 1], [pad[axis], 0]
        divisor = None if divisor_override is None else 1
        return aten.avg_pool2d(lines, *window, ceil_mode, count_include_pad, divisor)

    return _separable(gradients, inputs, pool) / (divisor_override or 1)


def adaptive_avg_pool2d_backward(gradients: Tensor, inputs: Tensor) -> Tensor:
    """Pull gradients (B, K, h', w') back through adaptive average pooling, to (B, K, h, w)."""

    def pool(axis: int, lines: Tensor) -> Tensor:
        return aten._adaptive_avg_pool2d(lines, [gradients.shape[2 + axis], 1])

    return _separable(gradients, inputs, pool)


def _separable(
    gradients: Tensor, inputs: Tensor, operation: Callable[[int, Tensor], Tensor]
) -> Tensor:
    """Apply the transposed matrices of an operation that treats rows and columns separately.

    ``operation(axis, lines)`` is the part of it along an axis, on lines (B, 1, length, 1).
    """
    rows, columns = (
        operation(axis, _unit_lines(inputs, 2 + axis)).flatten(1) for axis in (0, 1)
    )  # (h, h'), (w, w')
    return rows @ gradients @ columns.T


def _unit_lines(inputs: Tensor, axis: int) -> Tensor:
    length = inputs.shape[axis]
    unit = torch.eye(length, dtype=inputs.dtype, device=inputs.device)
    return unit.view(length, 1, length, 1)


def _pair(sizes: _Sizes) -> tuple[int, int]:
    return sizes[0], sizes[-1]


#: The adjoints by the operation that they stand for.
ADJOINTS: dict[torch._ops.OpOverload, Callable] = {
    aten.convolution_backward.default: convolution_backward,
    aten.max_pool2d_with_indices_backward.default: max_pool2d_backward,
    aten.adaptive_max_pool2d_backward.default: adaptive_max_pool2d_backward,
    aten.avg_pool2d_backward.default: avg_pool2d_backward,
    aten._adaptive_avg_pool2d_backward.default: adaptive_avg_pool2d_backward,
}
