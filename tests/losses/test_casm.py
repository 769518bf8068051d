import numpy as np
import pytest
import torch
from torch.nn import functional

from learned_saliency.losses import (
    CASMLoss,
    casm_classifier_loss,
    mask_size_term,
    negative_cross_entropy,
    negative_entropy,
)
from tests.support.paths import GOLDEN

SCORES = {"entropy": negative_entropy, "adversarial": negative_cross_entropy}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "casm.npz") as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return {k: v.double() if v.is_floating_point() else v for k, v in found.items()}


def upsampled(mask):
    """Masks (B, 1, 56, 56) at 224 pixels by nearest neighbor, as the recorded runs have them."""
    return functional.interpolate(mask, scale_factor=4, mode="nearest")[:, 0]


def coupled_logits(golden, saliency):
    """Logits that depend on the mask, through pooled masked-out images that are 1 everywhere."""
    pooled = functional.avg_pool2d(1 - saliency[:, None], 28).flatten(1)
    return golden["masked_logits"] + pooled @ golden["mixing"]


@pytest.mark.parametrize("score", SCORES)
def test_terms_and_gradients_are_the_golden_ones(golden, score):
    mask = golden["mask"].clone().requires_grad_()
    logits = golden["masked_logits"].clone().requires_grad_()
    loss = CASMLoss(float(golden[f"{score}_lambda"]), SCORES[score])
    terms = loss(upsampled(mask), golden["clean_logits"], logits, golden["target"])
    close = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(terms.score, golden[f"{score}_score"], **close)
    torch.testing.assert_close(terms.size, golden[f"{score}_regularisation"], **close)
    torch.testing.assert_close(terms.total, golden[f"{score}_total"], **close)
    of_mask, of_logits = torch.autograd.grad(terms.total, (mask, logits))
    torch.testing.assert_close(of_mask, golden[f"{score}_grad_mask"], **close)
    torch.testing.assert_close(of_logits, golden[f"{score}_grad_logits"], **close)


@pytest.mark.parametrize("score", SCORES)
def test_the_gradient_through_the_classifier_reaches_the_mask(golden, score):
    mask = golden["mask"].clone().requires_grad_()
    saliency = upsampled(mask)
    logits = coupled_logits(golden, saliency)
    loss = CASMLoss(float(golden[f"coupled_{score}_lambda"]), SCORES[score])
    terms = loss(saliency, golden["clean_logits"], logits, golden["target"])
    torch.testing.assert_close(terms.total, golden[f"coupled_{score}_total"], rtol=0, atol=1e-9)
    (gradient,) = torch.autograd.grad(terms.total, mask)
    expected = golden[f"coupled_{score}_grad_mask"]
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-9)


def test_the_classifier_loss_is_the_sum_of_both_cross_entropies(golden):
    labels, clean, masked = golden["target"], golden["clean_logits"], golden["masked_logits"]
    first, second = golden["clean_loss"], golden["entropy_masked_loss"]
    close = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(casm_classifier_loss(labels, clean), first, **close)
    torch.testing.assert_close(casm_classifier_loss(labels, masked_logits=masked), second, **close)
    torch.testing.assert_close(casm_classifier_loss(labels, clean, masked), first + second, **close)
    with pytest.raises(ValueError, match="neither"):
        casm_classifier_loss(labels)


@pytest.mark.parametrize(
    ("clean_right", "masked_right", "counts"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
def test_the_size_counts_only_where_a_right_image_is_made_wrong(clean_right, masked_right, counts):
    """All four cases: a sum of booleans instead of a conjunction gets at least one wrong."""
    right, wrong = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    saliency = torch.full((1, 4, 4), 0.25, requires_grad=True)
    term = mask_size_term(
        saliency,
        right if clean_right else wrong,
        right if masked_right else wrong,
        torch.tensor([0]),
    )
    assert term.tolist() == [0.75 if counts else 0.0]
    (gradient,) = torch.autograd.grad(term.sum(), saliency)
    assert gradient.unique().tolist() == [-1 / 16 if counts else 0.0]


def test_entropy_ignores_images_that_are_wrong_when_clean_and_the_other_score_does_not(golden):
    labels, clean, masked = golden["target"], golden["clean_logits"], golden["masked_logits"]
    found = negative_entropy(clean, masked, labels)
    expected = golden["entropy_negative_entropy"] * golden["correct_on_clean"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert (found == 0).tolist() == [False] * 6 + [True] * 2
    assert (negative_cross_entropy(clean, masked, labels) < 0).all()


def test_entropy_is_finite_with_its_gradient_for_certain_classifiers():
    masked = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    found = negative_entropy(torch.tensor([[1.0, 0.0, 0.0]]), masked, torch.tensor([0]))
    assert found.tolist() == [0.0]
    (gradient,) = torch.autograd.grad(found.sum(), masked)
    assert gradient.isfinite().all()


def test_the_weight_follows_the_largest_entropy_of_the_number_of_classes(golden):
    parts = (upsampled(golden["mask"]), golden["clean_logits"], golden["masked_logits"])
    for reference, factor in ((10, 1.0), (100, 0.5), (1000, 1 / 3)):
        scaled = CASMLoss(9.0, reference_classes=reference)(*parts, golden["target"])
        plain = CASMLoss(9.0 * factor)(*parts, golden["target"])
        torch.testing.assert_close(scaled.size, plain.size)
        torch.testing.assert_close(scaled.score, plain.score)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="size_weight"):
        CASMLoss(-1.0)
    with pytest.raises(ValueError, match="reference_classes"):
        CASMLoss(1.0, reference_classes=1)
    with pytest.raises(ValueError, match="expected saliency"):
        CASMLoss(1.0)(
            torch.rand(2, 1, 4, 4), torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 1])
        )
