import math

import numpy as np
import pytest
import torch

from learned_saliency.losses import size_constraint
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = np.load(FOLDER / "fcam.npz")


def random_probabilities(seed=0, batch=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, 6, 5, generator=generator, dtype=torch.float64).softmax(dim=1)


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float64, 1e-9, 1e-16), (torch.float32, 1e-4, 1e-9)]
)
@pytest.mark.parametrize("index", range(4))
def test_value_and_gradient_equal_published_constraint(index, dtype, rtol, atol):
    logits = torch.from_numpy(GOLDEN["size_logits"]).to(dtype).requires_grad_()
    loss = size_constraint(logits.softmax(dim=1), GOLDEN["elb_t"][index])
    loss.backward()
    expected = torch.tensor(GOLDEN["size_loss"][index], dtype=dtype)
    torch.testing.assert_close(loss, expected, rtol=rtol, atol=0)
    gradient = torch.from_numpy(GOLDEN["size_grad"][index]).to(dtype)
    torch.testing.assert_close(logits.grad, gradient, rtol=rtol, atol=atol)


def test_value_by_hand():
    # 4 pixels with foreground 1/4 each: areas 3 and 1, at t = 2 -(log 3 + log 1) / 2 by half.
    probabilities = torch.tensor([0.75, 0.25]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    expected = torch.tensor(-math.log(3) / 4)
    torch.testing.assert_close(size_constraint(probabilities, 2.0), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", [1.0, 10.0])
def test_all_background_is_finite_and_pushes_the_foreground_up(t, dtype):
    probabilities = torch.zeros(1, 2, 8, 8, dtype=dtype)
    probabilities[:, 0] = 1
    probabilities.requires_grad_()
    loss = size_constraint(probabilities, t)
    loss.backward()
    assert loss.isfinite()
    torch.testing.assert_close(probabilities.grad[:, 1], torch.full((1, 8, 8), -t / 2, dtype=dtype))


def test_mean_is_over_images():
    probabilities = random_probabilities()
    each = torch.stack([size_constraint(image.unsqueeze(0), 1.0) for image in probabilities])
    torch.testing.assert_close(size_constraint(probabilities, 1.0), each.mean())


def test_both_maps_count_alike():
    probabilities = random_probabilities()
    swapped = size_constraint(probabilities.flip(1), 3.0)
    torch.testing.assert_close(swapped, size_constraint(probabilities, 3.0))


@pytest.mark.parametrize("dim", [2, 3])
def test_flips_change_nothing(dim):
    probabilities = random_probabilities()
    turned = size_constraint(probabilities.flip(dim), 3.0)
    torch.testing.assert_close(turned, size_constraint(probabilities, 3.0))


def test_gradient_is_that_of_finite_differences():
    probabilities = random_probabilities().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: size_constraint(p, 1.5), probabilities)


def test_bad_input_is_rejected():
    with pytest.raises(ValueError, match=r"\(B, R, H, W\)"):
        size_constraint(torch.zeros(1, 1, 4, 4), 1.0)
    with pytest.raises(ValueError, match=r"\(B, R, H, W\)"):
        size_constraint(torch.zeros(2, 4, 4), 1.0)
    with pytest.raises(ValueError, match=r"counted must be \(B, R\)"):
        size_constraint(torch.zeros(1, 2, 4, 4), 1.0, torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(TypeError, match="floating point"):
        size_constraint(torch.zeros(1, 2, 4, 4, dtype=torch.int64), 1.0)
    with pytest.raises(ValueError, match="t must be"):
        size_constraint(torch.zeros(1, 2, 4, 4), 0.0)
