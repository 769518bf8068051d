"""Derivatives as plain operations, against autograd's own."""

import itertools

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from learned_saliency.pipeline.export.adjoints import ADJOINTS, convolution_backward

GENERATOR = torch.Generator().manual_seed(1)
FULL, GROUPED, TRANSPOSED = (
    torch.randn(*shape, 3, 2, generator=GENERATOR).double() for shape in ((6, 4), (6, 2), (4, 5))
)
AVERAGES = [{}, {"count_include_pad": False}, {"divisor_override": 7}]
POOLINGS = [
    {"kernel_size": 2},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
    {"kernel_size": 3, "stride": 5},
]
SIZES = [(2, 3), (5, 5), (11, 10), (13, 4)]
FUNCTIONS = [
    lambda x: F.conv2d(x, FULL),
    lambda x: F.conv2d(x, FULL, stride=2, padding=1),
    lambda x: F.conv2d(x, FULL, stride=(3, 2), padding=(0, 2), dilation=(1, 2)),
    lambda x: F.conv2d(x, GROUPED, stride=4, padding=2, groups=2),
    lambda x: F.conv1d(x.flatten(2), FULL[..., 0], stride=4, padding=2),
    lambda x: F.conv_transpose2d(x, TRANSPOSED, padding=1, dilation=2),
    lambda x: F.conv_transpose2d(x, TRANSPOSED, stride=3, output_padding=(1, 2)),
    lambda x: F.max_pool2d(x, 2, dilation=3),
    lambda x: F.adaptive_max_pool2d(x, (4, 3)),
    *(lambda x, o=o: F.max_pool2d(x, **o) for o in POOLINGS),
    *(lambda x, o=a | b: F.avg_pool2d(x, **o) for a, b in itertools.product(POOLINGS, AVERAGES)),
    *(lambda x, s=s: F.adaptive_avg_pool2d(x, s) for s in SIZES),
]


class Replaced(TorchDispatchMode):
    """Put the adjoints in the place of torch's operations, and count them."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in ADJOINTS
        return ADJOINTS.get(func, func)(*args, **(kwargs or {}))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_adjoints_are_the_gradients_of_autograd(function):
    generator = torch.Generator().manual_seed(0)
    for memory in (torch.contiguous_format, torch.channels_last):
        inputs = torch.randn(2, 4, 11, 10, generator=generator).double()
        leaf = inputs.contiguous(memory_format=memory).requires_grad_()
        outputs = function(leaf)
        outgoing = torch.randn(outputs.shape, generator=generator).double()
        (expected,) = torch.autograd.grad(outputs, leaf, outgoing, retain_graph=True)
        with Replaced() as replaced:
            (found,) = torch.autograd.grad(outputs, leaf, outgoing)
        assert replaced.count == 1
        torch.testing.assert_close(found, expected)


def test_gradients_of_weights_are_refused():
    weight = torch.randn(6, 4, 3, 3, requires_grad=True)
    outputs = F.conv2d(torch.randn(1, 4, 8, 8), weight)
    with Replaced(), pytest.raises(NotImplementedError, match="gradients of weights"):
        torch.autograd.grad(outputs.sum(), weight)
    assert convolution_backward(*[None] * 10, [False] * 3) == (None, None, None)
