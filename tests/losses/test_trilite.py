"""Loss of TriLite against plain loops."""

import math

import pytest
import torch

from learned_saliency.losses import TriLiteLoss, adversarial_background

LABELS = torch.tensor([2, 0, 3])


def scores(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probabilities(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def test_each_term_is_that_of_a_plain_loop():
    image, foreground, background = (scores(seed, 3, 4) for seed in range(3))
    terms = TriLiteLoss(0.5, 2.0)(image, foreground, background, LABELS)
    expected = {"classification": 0.0, "foreground": 0.0, "background": 0.0}
    for row, label in enumerate(LABELS.tolist()):
        own = [probabilities(z[row].tolist())[label] for z in (image, foreground, background)]
        expected["classification"] -= math.log(own[0]) / 3
        expected["foreground"] -= 0.5 * math.log(own[1]) / 3
        expected["background"] -= 2.0 * math.log(1 - own[2]) / 3
    values = {name: value.item() for name, value in terms.parts().items()}
    assert values == pytest.approx(expected, rel=1e-12)
    assert terms.total.item() == pytest.approx(sum(expected.values()), rel=1e-12)


def test_the_gradient_is_right():
    loss = TriLiteLoss(0.7, 1.3)
    inputs = [scores(seed, 3, 4).requires_grad_() for seed in range(3)]
    assert torch.autograd.gradcheck(lambda *z: loss(*z, LABELS).total, inputs)


def test_the_background_s_loss_is_finite_for_any_score():
    logits = torch.tensor([[200.0, 0.0, 1.0], [-200.0, 0.0, 1.0]], requires_grad=True)
    loss = adversarial_background(logits, torch.tensor([0, 0]))
    assert loss.item() == pytest.approx((200 - math.log(1 + math.e)) / 2, rel=1e-6)
    loss.backward()
    torch.testing.assert_close(logits.grad[0, 0], torch.tensor(0.5))
    assert logits.grad.isfinite().all()
    half = adversarial_background(logits.half(), torch.tensor([0, 0]))
    assert half.dtype == torch.float32


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="foreground_weight must be at least 0"):
        TriLiteLoss(foreground_weight=-1)
    with pytest.raises(ValueError, match="at least 2 classes"):
        adversarial_background(torch.zeros(2, 1), torch.tensor([0, 0]))
