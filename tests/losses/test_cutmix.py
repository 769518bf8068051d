"""The cross-entropy of mixed labels against its definition."""

import pytest
import torch

from learned_saliency.losses import mixed_cross_entropy


def draw(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, generator=generator, dtype=torch.float64).to(dtype)
    return logits, torch.tensor([0, 4, 2, 2]), torch.tensor([1, 4, 0, 3])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_is_the_cross_entropy_of_the_mixed_label(share):
    logits, own, other = draw()
    total = 0.0
    for image in range(4):
        log_probs = logits[image].log_softmax(0)
        label = torch.zeros(5, dtype=torch.float64)
        label[own[image]] += share
        label[other[image]] += 1 - share
        total -= float((label * log_probs).sum())
    found = mixed_cross_entropy(logits, own, other, share)
    torch.testing.assert_close(float(found), total / 4)


def test_its_gradient_is_that_of_the_formula():
    logits, own, other = draw()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mixed_cross_entropy(x, own, other, 0.3), logits)


def test_half_precision_is_widened():
    logits, own, other = draw(torch.bfloat16)
    assert mixed_cross_entropy(logits, own, other, 0.3).dtype == torch.float32
