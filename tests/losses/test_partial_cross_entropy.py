import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from learned_saliency.losses import IGNORE, partial_cross_entropy
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = np.load(FOLDER / "fcam.npz")


def random_case(seed, batch=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(batch, 2, 5, 4, generator=generator, dtype=dtype)
    labels = torch.tensor([IGNORE, 0, 1])[torch.randint(3, (batch, 5, 4), generator=generator)]
    return scores, labels


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_value_and_gradient_equal_published_loss(dtype, rtol):
    scores = torch.from_numpy(GOLDEN["size_logits"]).to(dtype).requires_grad_()
    loss = partial_cross_entropy(scores, torch.from_numpy(GOLDEN["partial_seeds"]))
    loss.backward()
    expected = torch.from_numpy(GOLDEN["partial_loss"]).to(dtype)
    torch.testing.assert_close(loss, expected, rtol=rtol, atol=0)
    gradient = torch.from_numpy(GOLDEN["partial_grad"]).to(dtype)
    torch.testing.assert_close(scores.grad, gradient, rtol=rtol, atol=1e-2 * rtol)


@pytest.mark.parametrize("seed", range(5))
def test_value_equals_torch_cross_entropy(seed):
    scores, labels = random_case(seed)
    expected = F.cross_entropy(scores, labels, ignore_index=IGNORE)
    torch.testing.assert_close(partial_cross_entropy(scores, labels), expected)


def test_value_by_hand():
    # One foreground pixel with odds 3 : 1 for it, one background pixel with even odds.
    scores = torch.tensor([[[[0.0, 0.0, 9.0]], [[math.log(3), 0.0, 9.5]]]])
    labels = torch.tensor([[[1, 0, IGNORE]]])
    expected = torch.tensor((math.log(4 / 3) + math.log(2)) / 2)
    torch.testing.assert_close(partial_cross_entropy(scores, labels), expected)


def test_mean_is_over_pixels_not_images():
    scores, labels = random_case(0, batch=2)
    labels[1, 0, :] = IGNORE
    numbers = (labels != IGNORE).sum(dim=(1, 2))
    assert numbers[0] != numbers[1]
    each = [partial_cross_entropy(scores[i : i + 1], labels[i : i + 1]) for i in range(2)]
    expected = (numbers * torch.stack(each)).sum() / numbers.sum()
    torch.testing.assert_close(partial_cross_entropy(scores, labels), expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_batch_without_labels_gives_zero_with_zero_gradient(batch):
    scores = random_case(0, batch)[0].requires_grad_()
    loss = partial_cross_entropy(scores, torch.full((batch, 5, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    torch.testing.assert_close(scores.grad, torch.zeros_like(scores))


def test_ignored_pixels_have_no_gradient():
    scores, labels = random_case(4)
    partial_cross_entropy(scores.requires_grad_(), labels).backward()
    changed = (scores.grad != 0).any(dim=1)
    torch.testing.assert_close(changed, labels != IGNORE)


def test_certain_and_wrong_is_finite():
    scores = torch.tensor([[[[1e4]], [[-1e4]]]], requires_grad=True)
    loss = partial_cross_entropy(scores, torch.ones(1, 1, 1, dtype=torch.int64))
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(2e4))
    torch.testing.assert_close(scores.grad.flatten(), torch.tensor([1.0, -1.0]))


def test_gradient_is_that_of_finite_differences():
    scores, labels = random_case(2)
    assert torch.autograd.gradcheck(
        lambda s: partial_cross_entropy(s, labels), scores.requires_grad_()
    )


@pytest.mark.parametrize("dim", [1, 2])
def test_flips_change_nothing(dim):
    scores, labels = random_case(1)
    turned = partial_cross_entropy(scores.flip(dim + 1), labels.flip(dim))
    torch.testing.assert_close(turned, partial_cross_entropy(scores, labels))


def test_inputs_stay_unchanged():
    scores, labels = random_case(3)
    before = scores.clone(), labels.clone()
    partial_cross_entropy(scores, labels)
    torch.testing.assert_close((scores, labels), before, rtol=0, atol=0)


LABELS = torch.zeros(1, 4, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        (torch.zeros(1, 1, 4, 4), LABELS, ValueError, r"\(B, R, H, W\)"),
        (torch.zeros(2, 4, 4), LABELS, ValueError, r"\(B, R, H, W\)"),
        (torch.zeros(1, 2, 4, 4), LABELS[:, :2], ValueError, r"\(B, H, W\)"),
        (torch.zeros(1, 2, 4, 4), LABELS + 255, ValueError, "0, 1 or -255"),
        (torch.zeros(1, 2, 4, 4), LABELS.float(), TypeError, "integer"),
        (torch.zeros(1, 2, 4, 4), LABELS.bool(), TypeError, "integer"),
        (torch.zeros(1, 2, 4, 4).long(), LABELS, TypeError, "floating point"),
    ],
)
def test_bad_input_is_rejected(scores, labels, error, message):
    with pytest.raises(error, match=message):
        partial_cross_entropy(scores, labels)
