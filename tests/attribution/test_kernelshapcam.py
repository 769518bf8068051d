import captum.attr
import numpy as np
import pytest
import torch

from learned_saliency.attribution import LIFTCAM, KernelSHAPCAM
from tests.support.few_channels import few_channels, score_of, shapley_values

TARGETS = torch.tensor([1, 2])


@pytest.mark.parametrize("channels", [2, 5, 7])
def test_all_subsets_give_the_shapley_values(channels):
    classifier, images = few_channels(channels)
    found = KernelSHAPCAM().coefficients(classifier, images, TARGETS)
    expected = shapley_values(classifier, images, TARGETS)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_channels_of_a_real_head_get_their_shapley_values(tiny_cnn, liftcam_golden):
    for head in ("linear", "mlp", "flat"):
        images, targets = liftcam_golden["images"].double(), liftcam_golden[f"{head}_targets"]
        found = KernelSHAPCAM().coefficients(tiny_cnn(head), images, targets)
        torch.testing.assert_close(found, liftcam_golden[f"{head}_shap"], rtol=0, atol=1e-9)


def drawn(method, classifier, images):
    """Features, subsets and scores of the first image, one head call each."""
    features = classifier.features(images[:1]).detach()
    subsets, weights = method._subsets(features.shape[1])
    scores = [
        score_of(classifier, features, subset.nonzero()[:, 0].tolist(), TARGETS[0])
        for subset in subsets
    ]
    none, full = (
        score_of(classifier, features, subset, TARGETS[0])
        for subset in ([], range(features.shape[1]))
    )
    return features, subsets, weights, np.array(scores), none, full


@pytest.mark.parametrize("samples", [40, 41])
def test_sampled_weights_solve_the_constrained_least_squares(samples):
    """By numpy: the constraint is put in for the last channel, as Lundberg's own code does."""
    classifier, images = few_channels(8)
    method = KernelSHAPCAM(samples=samples, batch_size=7)
    _, subsets, weights, scores, none, full = drawn(method, classifier, images)
    inputs, total = subsets.double().numpy(), full - none
    assert len(inputs) == samples
    assert weights.unique().tolist() == [1]
    solved = np.linalg.lstsq(
        inputs[:, :-1] - inputs[:, -1:], scores - none - total * inputs[:, -1], rcond=None
    )[0]
    expected = torch.tensor([*solved, total - solved.sum()])
    found = method.coefficients(classifier, images, TARGETS)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_captum_gives_the_same_on_the_same_subsets():
    """Captum draws its own subsets and gives the two ends a weight of 10^6: both are set here."""
    pytest.importorskip("sklearn")
    classifier, images = few_channels(6)
    method = KernelSHAPCAM(samples=40)
    features, subsets, *_ = drawn(method, classifier, images)
    ends = torch.tensor([[True] * 6, [False] * 6])
    rows = iter(torch.cat([ends, subsets]).long()[:, None])
    peer = captum.attr.KernelShap(lambda a: classifier.head(a).detach())
    peer.inf_weight = 1e9
    peer.perturb_func = lambda *given, **options: next(rows)
    mask = torch.arange(6).view(1, 6, 1, 1).expand_as(features)
    shares = peer.attribute(
        features, target=1, feature_mask=mask, n_samples=42, return_input_shape=False
    )
    found = method.coefficients(classifier, images, TARGETS)[0]
    torch.testing.assert_close(found, shares[0].double(), rtol=0, atol=1e-4)


def test_subsets_come_in_pairs_whose_sizes_follow_the_kernel():
    subsets, _ = KernelSHAPCAM(samples=20000)._subsets(20)
    assert torch.equal(subsets[::2], ~subsets[1::2])
    assert not subsets.all(1).any()
    assert subsets.any(1).all()
    sizes = torch.arange(1, 20)
    expected = 1 / (sizes * (20 - sizes)).double()
    found = torch.bincount(subsets.sum(1), minlength=20)[1:].double() / len(subsets)
    # A share of 0.1 of 10,000 pairs deviates by 0.003.
    torch.testing.assert_close(found, expected / expected.sum(), rtol=0, atol=0.012)
    # within a size each channel is as likely as any other
    torch.testing.assert_close(subsets.double().mean(0), torch.full((20,), 0.5).double())
    for size in (1, 10):
        share = subsets[subsets.sum(1) == size].double().mean(0)
        torch.testing.assert_close(share, torch.full_like(share, size / 20), rtol=0, atol=0.03)


def test_more_subsets_come_closer_and_the_sum_always_holds():
    classifier, images = few_channels(8)
    expected = shapley_values(classifier, images, TARGETS)

    def error(samples):
        errors = []
        for seed in range(4):
            method = KernelSHAPCAM(samples=samples, seed=seed)
            found = method.coefficients(classifier, images, TARGETS)
            torch.testing.assert_close(found.sum(1), expected.sum(1))
            errors.append((found - expected).square().mean().item())
        return sum(errors) / 4

    # The variance falls as 1 / samples; a factor of 3 is left to chance.
    assert error(240) < error(24) / 3


def test_by_default_two_subsets_per_channel_come_to_2048():
    assert len(KernelSHAPCAM()._subsets(20)[0]) == 2088
    assert len(KernelSHAPCAM()._subsets(11)[0]) == 2**11 - 2
    assert len(KernelSHAPCAM()._subsets(12)[0]) == 2072


def test_too_few_subsets_leave_the_rest_in_equal_shares():
    classifier, images = few_channels(9)
    method = KernelSHAPCAM(samples=2)
    subset = method._subsets(9)[0][0]
    found = method.coefficients(classifier, images, TARGETS)
    for members in (subset, ~subset):
        spread = found[:, members].amax(1) - found[:, members].amin(1)
        torch.testing.assert_close(spread, torch.zeros_like(spread), rtol=0, atol=1e-5)


def test_an_affine_head_needs_no_subset():
    classifier, images = few_channels(40, affine=True)
    found = KernelSHAPCAM().coefficients(classifier, images, TARGETS)
    assert sum(classifier.rows) == 4
    expected = LIFTCAM().coefficients(classifier, images, TARGETS)
    torch.testing.assert_close(found, expected)


def test_a_single_channel_gets_everything():
    classifier, images = few_channels(1)
    found = KernelSHAPCAM().coefficients(classifier, images, TARGETS)
    torch.testing.assert_close(found, shapley_values(classifier, images, TARGETS))


@pytest.mark.parametrize("target", ["probability", "margin"])
def test_other_scores_are_shared_out_too(target):
    classifier, images = few_channels(5)
    method = KernelSHAPCAM(target=target)
    found = method.coefficients(classifier, images, TARGETS).sum(1)
    features = classifier.features(images).detach()
    ends = []
    for values in (features, torch.zeros_like(features)):
        logits = classifier.head(values).detach()
        own = logits.gather(1, TARGETS[:, None])[:, 0]
        if target == "probability":
            ends.append(logits.softmax(1).gather(1, TARGETS[:, None])[:, 0])
        else:
            others = logits.scatter(1, TARGETS[:, None], float("-inf"))
            ends.append(own - others.amax(1))
    torch.testing.assert_close(found, ends[0] - ends[1])


def test_classes_share_the_runs_and_images_do_not_matter_to_each_other():
    classifier, images = few_channels(9, batch=3)
    method, targets = KernelSHAPCAM(samples=30, batch_size=8), torch.tensor([[0, 1, 2]] * 3)
    together = method.of_classes(classifier, images, targets)
    assert max(classifier.rows) <= 9  # one for each image and class, to see if it is affine
    assert sum(classifier.rows) == 3 + 9 + 3 + 3 * 30
    for i in range(3):
        alone = [method(classifier, images[i : i + 1], targets[i, t : t + 1]) for t in range(3)]
        torch.testing.assert_close(torch.cat(alone), together[i], rtol=0, atol=1e-6)


def test_float32_is_enough_and_nothing_is_left_behind():
    classifier, images = few_channels(9)
    expected = KernelSHAPCAM(samples=60)(classifier, images)
    state = torch.random.get_rng_state()
    classifier = classifier.float().train()
    found = KernelSHAPCAM(samples=60)(classifier, images.float())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert classifier.training
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)
    with torch.inference_mode():  # it needs no gradient
        torch.testing.assert_close(KernelSHAPCAM(samples=60)(classifier, images.float()), found)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="samples"):
        KernelSHAPCAM(samples=1)
    with pytest.raises(ValueError, match="batch_size"):
        KernelSHAPCAM(batch_size=0)
