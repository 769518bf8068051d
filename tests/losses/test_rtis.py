"""Objective of Real Time Image Saliency against plain loops, and what is drawn in its mixtures."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional

from learned_saliency.losses import AlternativeImages, RTISLoss
from learned_saliency.losses.rtis import total_variation
from learned_saliency.ops import blur

REAL = torch.tensor([0, 2, 3])  # the image in row 1 is asked for a fake class
TARGETS = torch.tensor([2, 0, 3])
MEAN, STD = (
    torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1),
    torch.tensor([0.2, 0.25, 0.5]).view(3, 1, 1),
)


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs():
    masks, presence = numbers(0, 4, 3, 5).sigmoid(), numbers(1, 4)
    return masks, presence, REAL, numbers(2, 3, 6), numbers(3, 3, 6), TARGETS


def probability(row, label):
    powers = [math.exp(value) for value in row]
    return powers[label] / sum(powers)


def test_each_term_is_that_of_a_plain_loop():
    masks, presence, _, preserved, destroyed, _ = inputs()
    terms = RTISLoss(0.2, 8.0, 3.0, 0.4, 0.7)(*inputs())
    expected = dict.fromkeys(("smoothness", "area", "preserved", "destroyed", "filter"), 0.0)
    for row, (mask, score) in enumerate(zip(masks.tolist(), presence.tolist(), strict=True)):
        expected["area"] += 8.0 * sum(map(sum, mask)) / 15 / 4
        found = 1 / (1 + math.exp(-score))
        if row not in REAL:
            expected["filter"] -= 0.7 * math.log(1 - found) / 4
            continue
        expected["filter"] -= 0.7 * math.log(found) / 4
        for i in range(3):
            for j in range(5):
                for k, m in ((i + 1, j), (i, j + 1)):
                    if k < 3 and m < 5:
                        expected["smoothness"] += 0.2 * (mask[i][j] - mask[k][m]) ** 2 / 4
        at = REAL.tolist().index(row)
        label = int(TARGETS[at])
        expected["preserved"] -= math.log(probability(preserved[at].tolist(), label)) / 4
        expected["destroyed"] += 3.0 * probability(destroyed[at].tolist(), label) ** 0.4 / 4
    values = {name: value.item() for name, value in terms.parts().items()}
    assert values == pytest.approx(expected, rel=1e-12)
    assert terms.total.item() == pytest.approx(sum(expected.values()), rel=1e-12)


def test_the_gradient_is_right_and_finite_for_a_class_that_is_gone():
    masks, presence, real, *logits, targets = inputs()
    leaves = [leaf.requires_grad_() for leaf in (masks, presence, *logits)]

    def total(masks, presence, preserved, destroyed):
        return RTISLoss()(masks, presence, real, preserved, destroyed, targets).total

    assert torch.autograd.gradcheck(total, leaves)
    gone = torch.tensor([[-1e4, 0.0]], requires_grad=True)
    row = torch.tensor([0])
    RTISLoss()(masks[:1], presence[:1], row, gone, gone, row).total.backward()
    assert bool(gone.grad.isfinite().all())


def test_a_batch_of_fake_classes_alone_has_area_and_filter():
    masks, presence, _, *_ = inputs()
    none = torch.zeros(0, dtype=torch.int64)
    terms = RTISLoss()(masks, presence, none, masks.new_zeros(0, 6), masks.new_zeros(0, 6), none)
    assert terms.smoothness == terms.preserved == terms.destroyed == 0
    torch.testing.assert_close(terms.total, terms.area + terms.filter)


def test_the_total_variation_of_a_map_does_not_depend_on_its_resolution():
    """A blob of the same form at 64 and at 256 pixels; a mean would be 16 times smaller."""
    found = []
    for side in (64, 256):
        x = (torch.arange(side) + 0.5) / side - 0.5
        found.append(total_variation((-30 * (x[:, None] ** 2 + x**2)).exp()[None]))
    torch.testing.assert_close(found[1], found[0], rtol=0.01, atol=0)


def test_half_precision_is_widened():
    half = [v.bfloat16() if v.is_floating_point() else v for v in inputs()]
    whole = [v.float() if v.is_floating_point() else v for v in half]
    with torch.autocast("cpu", torch.bfloat16):
        found = RTISLoss()(*half)
    torch.testing.assert_close(found, RTISLoss()(*whole), rtol=0, atol=0)


def test_hidden_pixels_are_blurred_or_of_one_noisy_color():
    images = numbers(5, 400, 3, 20, 10).float()
    torch.manual_seed(0)
    found = AlternativeImages(blur_sigma=16.0)(images, MEAN, STD)
    blurred = blur(images, 16.0 * math.sqrt(200) / 224)
    is_blurred = (found == blurred).flatten(1).all(dim=1)
    assert int(is_blurred.sum()) == pytest.approx(200, abs=40)
    colors = (found * STD + MEAN)[~is_blurred]
    middle = colors.mean((2, 3))
    assert 0.5 - 0.165 - 0.02 < float(middle.min()) < 0.36
    assert 0.64 < float(middle.max()) < 0.5 + 0.165 + 0.02
    assert float(middle.std(dim=1).mean()) > 0.05  # the three channels are drawn apart
    assert float(colors.std(dim=(2, 3)).mean()) == pytest.approx(0.055, rel=0.02)
    torch.manual_seed(0)
    again = AlternativeImages(blur_sigma=16.0)(images, MEAN, STD)
    assert torch.equal(again, found)
    always = AlternativeImages(1.0, blur_sigma=16.0)(images, MEAN, STD)
    assert torch.equal(always, blurred)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (RTISLoss, {"area_weight": -1}),
        (RTISLoss, {"destroyed_power": 0}),
        (RTISLoss, {"destroyed_power": 1.1}),
        (AlternativeImages, {"blur_probability": 1.1}),
        (AlternativeImages, {"blur_sigma": 0}),
        (AlternativeImages, {"noise_std": -1}),
    ],
)
def test_numbers_out_of_range_are_refused(kind, given):
    with pytest.raises(ValueError, match=rf"{next(iter(given))}|weights"):
        kind(**given)


def test_the_blur_grows_with_the_image():
    """An image of twice the side, blurred by twice the pixels, is the blurred image enlarged."""
    small = blur(numbers(6, 2, 3, 56, 56).float(), 3.0)
    small = small / small.std()
    enlarge = partial(functional.interpolate, scale_factor=2, mode="bilinear")
    found, same = (AlternativeImages(1.0, blur_sigma=s) for s in (10.0, 5.0))
    expected = enlarge(found(small, MEAN, STD))
    differences = [(a(enlarge(small), MEAN, STD) - expected).abs().mean() for a in (found, same)]
    assert float(differences[0]) < 0.03 * float(expected.std())
    assert float(differences[1]) > 0.2 * float(expected.std())
