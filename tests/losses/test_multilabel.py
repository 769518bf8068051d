import pytest
import torch

from learned_saliency.losses import multilabel_cross_entropy


def test_gradient_is_sigmoid_minus_truth_over_the_images():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, generator=generator, dtype=torch.double, requires_grad=True)
    labels = torch.rand(3, 5, generator=generator) < 0.4
    loss = multilabel_cross_entropy(logits, labels)
    p = logits.sigmoid()
    torch.testing.assert_close(loss, -torch.where(labels, p.log(), (1 - p).log()).sum() / 3)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, ((p - labels.double()) / 3).detach())


def test_half_precision_is_widened_and_shapes_are_checked():
    logits = torch.tensor([[300.0, -300.0]], dtype=torch.float16)
    assert multilabel_cross_entropy(logits, torch.tensor([[False, True]])).item() == 600
    with pytest.raises(ValueError, match="expected labels of"):
        multilabel_cross_entropy(logits, torch.tensor([[True]]))
