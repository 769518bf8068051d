"""Detection of heads that are affine in the activations."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import is_affine

X = torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))

AFFINE = {
    "pooling, linear": lambda x: F.linear(x.mean((2, 3)), WEIGHT, torch.ones(5)),
    "adaptive pooling, flatten": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1) @ WEIGHT.T,
    "convolution, pooling": lambda x: F.conv2d(x, WEIGHT[:, :, None, None]).mean((2, 3)),
    "sum of two paths": lambda x: x.sum((2, 3)) / 9 + 2 * x[:, :, 0, 0] - 1,
    "permute, reshape": lambda x: x.permute(0, 2, 3, 1).reshape(2, -1) * torch.arange(36.0),
    "transposed addmm": lambda x: torch.addmm(torch.ones(5), x.mean((2, 3)), WEIGHT.t()),
    "dropout in evaluation": lambda x: F.dropout(x, 0.5, training=False).sum((2, 3)),
    "double cast": lambda x: x.double().sum((2, 3)).float(),
    "constant": lambda x: torch.ones(2, 3),
}
NOT_AFFINE = {
    "relu": lambda x: x.relu().mean((2, 3)),
    "product of two paths": lambda x: x * x.mean((2, 3), keepdim=True),
    "square": lambda x: x**2,
    "divided by itself": lambda x: 1 / (1 + x),
    "normalized": lambda x: x / x.sum(1, keepdim=True),
    "softmax": lambda x: x.mean((2, 3)).softmax(1),
    "largest": lambda x: x.amax((2, 3)),
    "max pooling": lambda x: F.max_pool2d(x, 2),
    "gram matrix": lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
    "layer norm": lambda x: nn.LayerNorm(3)(x),
}


@pytest.mark.parametrize("function", AFFINE.values(), ids=AFFINE)
def test_affine_functions_are_recognized(function):
    x, y = X.clone().requires_grad_(), X.flip(0).clone()
    assert is_affine(function(x))
    middle = function(0.25 * X + 0.75 * y)  # what the word means
    torch.testing.assert_close(middle, 0.25 * function(X) + 0.75 * function(y))


@pytest.mark.parametrize("function", NOT_AFFINE.values(), ids=NOT_AFFINE)
def test_other_functions_are_not(function):
    assert not is_affine(function(X.clone().requires_grad_()))
