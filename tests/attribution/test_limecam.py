import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._core.lime import get_exp_kernel_similarity_function

from learned_saliency.attribution import LIFTCAM, LIMECAM
from tests.support.few_channels import few_channels, score_of

TARGETS = torch.tensor([1, 2])


def drawn(method, classifier, image, target):
    """Features, subsets and scores of an image, one head call each."""
    features = classifier.features(image[None]).detach()
    subsets = method._draw(features.shape[1])
    scores = [
        score_of(classifier, features, subset.nonzero()[:, 0].tolist(), target)
        for subset in subsets
    ]
    return features, subsets, np.array(scores)


@pytest.mark.parametrize("ridge", [1.0, 1e-3])
def test_weights_solve_the_weighted_ridge_regression(ridge):
    """By numpy: a column of ones for alpha_0, a row sqrt(ridge) for each alpha_k but alpha_0."""
    classifier, images = few_channels(8)
    method = LIMECAM(samples=60, kernel_width=0.4, ridge=ridge, batch_size=7)
    found = method.coefficients(classifier, images, TARGETS)
    for i in range(2):
        _, subsets, scores = drawn(method, classifier, images[i], TARGETS[i])
        inputs = subsets.double().numpy()
        size = inputs.sum(1)
        cosine = inputs @ np.ones(8) / (np.sqrt(size) * np.sqrt(8))
        roots = np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.4**2))[:, None]
        rows = np.hstack([np.ones((60, 1)), inputs]) * roots
        penalty = np.hstack([np.zeros((8, 1)), np.sqrt(ridge) * np.eye(8)])
        right = np.concatenate([scores * roots[:, 0], np.zeros(8)])
        solved = np.linalg.lstsq(np.vstack([rows, penalty]), right, rcond=None)[0]
        torch.testing.assert_close(found[i], torch.tensor(solved[1:]), rtol=0, atol=1e-9)


def test_captum_gives_the_same_on_the_same_subsets():
    """Captum's kernel is exp(-D^2 / 2 w^2), so its width is smaller by sqrt(2)."""
    pytest.importorskip("sklearn")
    classifier, images = few_channels(6)
    method = LIMECAM(samples=40, kernel_width=0.3, ridge=0.5)
    features, subsets, _ = drawn(method, classifier, images[0], TARGETS[0])
    rows = iter(subsets.long()[:, None])
    kernel = get_exp_kernel_similarity_function("cosine", 0.3 / 2**0.5)
    peer = captum.attr.Lime(
        lambda a: classifier.head(a).detach(),
        interpretable_model=SkLearnRidge(alpha=0.5),
        similarity_func=lambda a, b, subset, **options: kernel(torch.ones(1, 6), subset, None),
        perturb_func=lambda *given, **options: next(rows),
    )
    mask = torch.arange(6).view(1, 6, 1, 1).expand_as(features)
    shares = peer.attribute(
        features, target=1, feature_mask=mask, n_samples=40, return_input_shape=False
    )
    found = method.coefficients(classifier, images, TARGETS)[0]
    torch.testing.assert_close(found, shares[0].double(), rtol=0, atol=1e-4)


def test_subsets_begin_with_all_channels_and_have_uniform_sizes():
    subsets = LIMECAM(samples=8001)._draw(20)
    assert subsets[0].all()
    sizes = torch.bincount(subsets[1:].sum(1), minlength=21)
    assert sizes[0] == 0
    # 400 of each size are expected, with a deviation of 19.5.
    assert (sizes[1:] - 400).abs().max() < 90
    share = subsets[subsets.sum(1) == 5].double().mean(0)
    torch.testing.assert_close(share, torch.full_like(share, 0.25), rtol=0, atol=0.1)


def test_an_affine_head_is_not_run_and_has_its_own_weights_but_for_the_ridge():
    classifier, images = few_channels(9, affine=True)
    expected = LIFTCAM().coefficients(classifier, images, TARGETS)
    classifier.rows.clear()
    found = LIMECAM(samples=50, ridge=1e-9).coefficients(classifier, images, TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    assert sum(classifier.rows) == 4
    method, ran = LIMECAM(samples=50), classifier.head
    shrunk = method.coefficients(classifier, images, TARGETS)
    assert (shrunk.abs().sum(1) < expected.abs().sum(1)).all()
    # hidden from the test of affinity, the head is run on every subset, with the same result
    classifier.head = lambda features: ran(features).exp().log()
    torch.testing.assert_close(method.coefficients(classifier, images, TARGETS), shrunk)
    assert sum(classifier.rows) > 2 * 49


def test_classes_share_the_runs_and_images_do_not_matter_to_each_other():
    classifier, images = few_channels(9, batch=3)
    method, targets = LIMECAM(samples=30, batch_size=9), torch.tensor([[0, 1, 2]] * 3)
    together = method.of_classes(classifier, images, targets)
    assert max(classifier.rows) <= 9
    assert sum(classifier.rows) == 3 + 9 + 3 * 29
    for i in range(3):
        alone = [method(classifier, images[i : i + 1], targets[i, t : t + 1]) for t in range(3)]
        torch.testing.assert_close(torch.cat(alone), together[i], rtol=0, atol=1e-6)


def test_seed_chooses_the_subsets_and_nothing_is_left_behind():
    classifier, images = few_channels(9)
    classifier.train()
    state = torch.random.get_rng_state()
    first, again, other = (
        LIMECAM(samples=30, seed=seed).coefficients(classifier, images) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-4
    assert classifier.training
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())


@pytest.mark.parametrize(
    "options", [{"samples": 1}, {"kernel_width": 0.0}, {"ridge": 0.0}, {"batch_size": 0}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LIMECAM(**options)
