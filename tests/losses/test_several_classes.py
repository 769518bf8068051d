"""Losses of images with any number of classes, against loops over images and classes."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from learned_saliency.losses import (
    IGNORE,
    CASMLoss,
    FCAMLoss,
    SPGLoss,
    TriLiteLoss,
    adversarial_background,
    casm_classifier_loss,
    classification_loss,
    log_barrier,
    mask_size_term,
    mixed_cross_entropy,
    negative_cross_entropy,
    negative_entropy,
    partial_cross_entropy,
    present_regions,
    size_constraint,
)
from learned_saliency.losses.rtis import destruction, preservation
from learned_saliency.ops import Activation, maximum_of_present

LABELS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]]).bool()


@pytest.fixture
def logits():
    return 2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sigmoid(value):
    return 1 / (1 + math.exp(-float(value)))


def entropies(logits, targets):
    """Binary cross-entropies of numbers, summed over classes and averaged over images."""
    total = 0.0
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        for value, target in zip(row, wanted, strict=True):
            p = sigmoid(value)
            total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    return total / len(logits)


def test_the_loss_follows_the_form_of_the_labels(logits):
    assert classification_loss(logits, LABELS).item() == pytest.approx(entropies(logits, LABELS))
    labels = torch.tensor([0, 2, 1, 1])
    expected = -logits.log_softmax(1)[range(4), labels].mean()
    torch.testing.assert_close(classification_loss(logits, labels), expected)
    both = casm_classifier_loss(LABELS, logits, -logits)
    assert both.item() == pytest.approx(entropies(logits, LABELS) + entropies(-logits, LABELS))


def test_mixed_labels_count_classes_of_both_images_in_full(logits):
    partners = LABELS[[2, 3, 0, 1]]
    mixed = 0.7 * LABELS.double() + 0.3 * partners.double()
    found = mixed_cross_entropy(logits, LABELS, partners, 0.7)
    assert found.item() == pytest.approx(entropies(logits, mixed))


def test_the_background_may_tell_none_of_the_classes(logits):
    expected = 0.0
    for row, present in zip(logits.tolist(), LABELS.tolist(), strict=True):
        for value, there in zip(row, present, strict=True):
            expected -= math.log(1 - sigmoid(value)) if there else 0.0
    found = adversarial_background(logits, LABELS)
    assert found.item() == pytest.approx(expected / 4)
    leaf = logits.clone().requires_grad_()
    assert gradcheck(lambda x: TriLiteLoss()(x, 0.5 * x, x.square(), LABELS).total, leaf)


def test_the_score_of_casm_is_the_mean_over_present_classes(logits):
    found = negative_cross_entropy(-logits, logits, LABELS)
    for value, row, present in zip(found.tolist(), logits.tolist(), LABELS.tolist(), strict=True):
        own = [math.log(sigmoid(v)) for v, there in zip(row, present, strict=True) if there]
        assert value == pytest.approx(sum(own) / len(own) if own else 0.0)
    with pytest.raises(ValueError, match=r"no meaning.*model\.score=classification"):
        negative_entropy(logits, logits, LABELS)


def test_the_size_term_counts_the_rate_of_hidden_classes():
    masks = torch.full((4, 2, 2), 0.25)
    clean = torch.tensor([[1.0, 5, 1], [1, 1, 1], [1, 1, 1], [1, 1, -1]])
    masked = torch.tensor([[-1.0, -5, 1], [-1, -1, -1], [1, -1, 1], [-1, -1, -1]])
    found = mask_size_term(masks, clean, masked, LABELS)
    assert found.tolist() == pytest.approx([0.25, 0.0, 0.75, 2 / 3 - 0.25])
    one = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]).bool()
    rates = mask_size_term(masks, clean, masked, one)
    assert rates.tolist() == pytest.approx([0.75, 0.75, 0.75, 0.75])


def test_the_gradient_of_casms_objective_is_exact(logits):
    leaf = logits.clone().requires_grad_()
    masks = torch.rand(4, 2, 2, dtype=torch.float64).requires_grad_()
    loss = CASMLoss(2.0, negative_cross_entropy)
    assert gradcheck(lambda m, x: loss(m, logits.abs(), x, LABELS).total, (masks, leaf))


def test_masks_of_a_class_ask_for_its_sigmoid(logits):
    targets = torch.tensor([0, 2, 1, 1])
    kept = preservation(logits, targets, Activation.SIGMOID)
    left = destruction(logits, targets, 0.3, Activation.SIGMOID)
    for row, target in enumerate(targets.tolist()):
        p = sigmoid(logits[row, target])
        assert kept[row].item() == pytest.approx(-math.log(p))
        assert left[row].item() == pytest.approx(p**0.3)
    leaf = logits.clone().requires_grad_()
    assert gradcheck(lambda x: destruction(x, targets, 0.3, Activation.SIGMOID), leaf)


def test_spg_is_guided_by_maps_of_any_class_and_by_none_without_one():
    cams = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    joint = maximum_of_present(cams, LABELS)
    assert torch.equal(joint[0], torch.maximum(cams[0, 0], cams[0, 2]))
    assert not joint[1].any()
    branches = [torch.zeros(4, 4, 4) for _ in range(3)]
    logits = torch.zeros(4, 3)
    every = SPGLoss()(logits, joint, branches, LABELS, (4, 4))
    kept = [0, 2, 3]
    some = [branch[kept] for branch in branches]
    rest = SPGLoss()(logits[kept], joint[kept], some, LABELS[kept], (4, 4))
    torch.testing.assert_close(every.deep, rest.deep)
    assert every.classification.item() == pytest.approx(3 * math.log(2))


def test_seeds_of_many_regions_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 4, (2, 3, 3), generator=generator)
    labels[labels < 0] = IGNORE
    expected = [
        -scores[b, :, y, x].log_softmax(0)[labels[b, y, x]]
        for b, y, x in (labels != IGNORE).nonzero().tolist()
    ]
    found = partial_cross_entropy(scores, labels)
    torch.testing.assert_close(found, torch.stack(expected).mean())
    assert gradcheck(lambda x: partial_cross_entropy(x, labels), scores)
    with pytest.raises(ValueError, match="0, 1, 2, 3 or -255"):
        partial_cross_entropy(scores, labels.clamp(min=0) + 1)


def test_regions_that_an_image_lacks_have_no_size_to_keep():
    areas = torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    counted = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]]).bool()
    expected = sum(
        float(log_barrier(-areas[b, r].sum(), 2.0)) for b, r in counted.nonzero().tolist()
    )
    assert size_constraint(areas, 2.0, counted).item() == pytest.approx(expected / 4)


def test_absent_classes_are_one_region_of_the_crf():
    probabilities = torch.rand(3, 4, 2, 2, generator=torch.Generator().manual_seed(0)).softmax(1)
    present = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]]).bool()
    found = present_regions(probabilities, present)
    assert found.shape == (3, 4, 2, 2)
    torch.testing.assert_close(found.sum(1), torch.ones(3, 2, 2))
    background, first, second, third = probabilities.unbind(1)
    torch.testing.assert_close(found[0], torch.stack([background, first, third, second], dim=1)[0])
    torch.testing.assert_close(found[1, 3], (first + second + third)[1])
    assert not found[1, 1:3].any()
    torch.testing.assert_close(found[2, [1, 3]], torch.stack([second[2], (first + third)[2]]))
    assert present_regions(probabilities[:, :2], present[:, :1]) is not None


def test_an_image_without_a_class_is_asked_for_background_alone():
    scores = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.full((2, 4, 4), IGNORE)
    present = torch.tensor([[True], [False]])
    found = FCAMLoss()(scores, labels, present=present)
    area = scores.softmax(1).sum((2, 3))
    kept = [log_barrier(-area[b, r], 1.0) for b, r in ((0, 0), (0, 1), (1, 0))]
    torch.testing.assert_close(found.size, 0.1 * torch.stack(kept).sum() / 4)
    leaf = scores.double().requires_grad_()
    assert gradcheck(lambda x: FCAMLoss()(x, labels, present=present).total, leaf)
