import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from learned_saliency.attribution import (
    ActivationStatistics,
    InformationBottleneck,
    SharedFeatures,
    activation_statistics,
)
from tests.support.few_channels import few_channels

TARGETS = torch.tensor([3, 1, 4, 1])


def blurred(values, sigma):
    """Blur (K, h, w) by one kernel of two axes, cut off at three deviations, borders repeated."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1).double()
    kernel = torch.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum())[None, None]
    padded = F.pad(values[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(padded, kernel)[:, 0]


def by_the_paper(classifier, image, target, mean, std, *, steps, samples, beta, rate, seed=0):
    """The bottleneck of one image, with every step of Adam written out."""
    features = classifier.features(image[None])[0].detach()
    varies = std > 0
    std = std.clamp(min=1e-3)
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.full_like(features, 5.0)
    first, second = torch.zeros_like(alpha), torch.zeros_like(alpha)

    def information(alpha):
        kept = blurred(alpha.sigmoid(), 1.0)
        normal = (features - mean) / std
        return varies * kl_divergence(Normal(kept * normal, 1 - kept), Normal(0.0, 1.0))

    for step in range(1, steps + 1):
        noise = torch.randn(samples, *features.shape, generator=generator).double()
        alpha.requires_grad_()
        kept = blurred(alpha.sigmoid(), 1.0)
        loss = beta * information(alpha).sum() / features.numel()
        for epsilon in mean + std * noise:
            mixed = torch.where(varies, kept * features + (1 - kept) * epsilon, mean)
            loss = loss + F.cross_entropy(classifier.head(mixed[None]), target[None]) / samples
        (gradient,) = torch.autograd.grad(loss, alpha)
        alpha = alpha.detach()
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        size = (second / (1 - 0.999**step)).sqrt() + 1e-8
        alpha = alpha - rate * first / (1 - 0.9**step) / size
    return information(alpha).sum(0).detach() / math.log(2)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_maps_are_those_of_a_plain_loop(tiny_cnn, images, given, batch_size):
    classifier = tiny_cnn("flat")
    statistics = activation_statistics(classifier, images.split(3)) if given else None
    options = {"steps": 4, "samples": 3, "beta": 2.0}
    method = InformationBottleneck(
        statistics=statistics,
        learning_rate=0.7,
        seed=2,
        min_std=1e-3,
        batch_size=batch_size,
        **options,
    )
    found = method.raw_maps(classifier, images[:2], TARGETS[:2])
    for i in range(2):
        features = classifier.features(images).detach()
        if given:
            mean, std = features.mean(0), features.std(0)
        else:
            mean, std = features[i].mean((1, 2)), features[i].std((1, 2), correction=0)
            mean, std = mean[:, None, None], std[:, None, None]
        expected = by_the_paper(
            classifier,
            images[i],
            TARGETS[i],
            mean,
            std,
            rate=0.7,
            seed=2,
            **options,
        )
        torch.testing.assert_close(found[i], expected, rtol=1e-6, atol=1e-6)
    assert (found.amax((1, 2)) - found.amin((1, 2)) > 0.1).all()


def test_bits_of_one_cell_by_hand(by_hand):
    """One step of Adam, from alpha = 0, goes by the learning rate against the gradient's sign."""
    classifier, images = by_hand
    method = InformationBottleneck(
        steps=1,
        samples=1,
        beta=1e6,  # information alone: every alpha goes down
        learning_rate=0.5,
        smoothing=0.0,
        initial=0.0,
    )
    found = method.raw_maps(classifier, images, torch.tensor([0]))
    kept = 1 / (1 + math.exp(0.5))
    # A is (1, 3) and (2, 1): in both channels r = -+1, and each has the same information
    nats = (kept**2 + (1 - kept) ** 2 - 1) / 2 - math.log(1 - kept)
    expected = torch.full((1, 1, 2), 2 * nats / math.log(2), dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_beta_takes_information_away(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    bits = [
        InformationBottleneck(beta=beta).raw_maps(classifier, images).sum()
        for beta in (0.0, 1.0, 100.0)
    ]
    assert bits[0] > 1.2 * bits[1]
    assert bits[1] > 1.2 * bits[2]


def test_what_the_class_does_not_need_loses_its_information():
    """Only the left half counts for the head, and only there bits remain."""
    classifier, images = few_channels(6)
    half = torch.cat([torch.ones(3), torch.zeros(3)]).double()
    plain = classifier.head
    classifier.head = lambda features: plain(features * half)
    found = InformationBottleneck(beta=0.1, smoothing=0.5).raw_maps(classifier, images)
    left, right = found[:, :, :2].mean(), found[:, :, 4:].mean()
    assert left > 10 * right


def test_alpha_may_grow_beyond_what_one_minus_a_sigmoid_can_tell_from_zero():
    classifier, images = few_channels(5)
    classifier, images = classifier.float(), images.float()
    method = InformationBottleneck(initial=40.0, steps=1)
    found = method.raw_maps(classifier, images)
    exact = method.raw_maps(classifier.double(), images.double())
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("batch_size", [None, 10, 35])
def test_map_does_not_depend_on_batch_mates(tiny_cnn, images, batch_size):
    classifier = tiny_cnn("flat")
    method = InformationBottleneck(steps=3, batch_size=batch_size)
    together = method(classifier, images, TARGETS)
    for i in range(4):
        alone = method(classifier, images[i : i + 1], TARGETS[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


def test_only_the_head_runs_and_the_classifier_is_left_as_found():
    classifier, images = few_channels(5)
    classifier.train()
    state = torch.random.get_rng_state()
    method = InformationBottleneck(steps=3, samples=4, batch_size=4)
    method(classifier, images, torch.tensor([0, 1]))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert classifier.passes == 2
    assert sum(classifier.rows) == 2 * (1 + 3 * 4)
    assert max(classifier.rows) <= 4
    assert classifier.training
    assert all(weight.requires_grad and weight.grad is None for weight in classifier.parameters())
    with pytest.raises(RuntimeError, match="inference_mode"), torch.inference_mode():
        method(classifier, images)


def test_other_scores_are_kept_instead(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    maps = {
        target: InformationBottleneck(target=target)(classifier, images)
        for target in ("log_probability", "logit", "margin")
    }
    torch.testing.assert_close(
        maps["log_probability"], InformationBottleneck()(classifier, images), rtol=0, atol=0
    )
    assert (maps["logit"] - maps["log_probability"]).abs().max() > 1e-3


def test_constant_activations_have_no_information_and_get_no_noise():
    classifier, images = few_channels(5)
    with torch.no_grad():
        classifier.conv.weight[1:4] = 0
        classifier.conv.bias[1:4] = torch.tensor([-1.0, 0.3, 1e5])
    method = InformationBottleneck(beta=0.1)
    found = method.raw_maps(classifier.float(), images.float())
    plain, fixed = classifier.head, classifier.features(images.float())[:, 1:4].detach()
    seen = []

    def head(features):
        seen.append(((features[:, 1:4] - fixed[:1]) / (1 + fixed[:1])).abs().max().item())
        return plain(features)

    classifier.head = head
    torch.testing.assert_close(method.raw_maps(classifier, images.float()), found)
    assert max(seen) < 1e-6
    with torch.no_grad():
        classifier.conv.weight.zero_()
    nothing = method.raw_maps(classifier, images.float())
    torch.testing.assert_close(nothing, torch.zeros_like(nothing), rtol=0, atol=0)


@pytest.mark.parametrize("sizes", [[7], [1, 6], [3, 4]])
def test_statistics_are_those_of_all_images_at_once(tiny_cnn, sizes):
    classifier = tiny_cnn("linear").train()
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    found = activation_statistics(classifier, images.split(sizes))
    features = classifier.features(images).detach()
    torch.testing.assert_close(found.mean, features.mean(0))
    torch.testing.assert_close(found.std, features.std(0))
    assert classifier.training
    pooled, numbers = found.of_channels(), features.transpose(0, 1).flatten(1)
    torch.testing.assert_close(pooled.mean[:, 0, 0], numbers.mean(1))
    # the deviation at each position is that of a sample of 7
    expected = (features.var(0).mean((1, 2)) + features.mean(0).var((1, 2), correction=0)).sqrt()
    torch.testing.assert_close(pooled.std[:, 0, 0], expected)
    torch.testing.assert_close(pooled.std[:, 0, 0], numbers.std(1), rtol=0.08, atol=0)
    shared = SharedFeatures(classifier, images)
    torch.testing.assert_close(activation_statistics(shared, [images]).std, found.std)


def test_statistics_of_a_large_mean_keep_their_precision():
    classifier, images = few_channels(3, batch=40)
    with torch.no_grad():
        classifier.conv.bias.fill_(1e4)
    found = activation_statistics(classifier.float(), images.float().split(8))
    exact = classifier.double().features(images).std(0).detach()
    torch.testing.assert_close(found.std.double(), exact, rtol=0.02, atol=0)


def test_wrong_statistics_are_refused(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    with pytest.raises(ValueError, match="two images"):
        activation_statistics(classifier, [images[:1]])
    wrong = ActivationStatistics(torch.zeros(8, 1, 1), torch.ones(8, 7, 7))
    with pytest.raises(ValueError, match="std is"):
        InformationBottleneck(statistics=wrong)(classifier, images)


def test_statistics_of_whole_channels_are_taken(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    wide = ActivationStatistics(torch.zeros(8, 8, 8), torch.full((8, 8, 8), 0.5))
    one = ActivationStatistics(torch.zeros(8, 1, 1), torch.full((8, 1, 1), 0.5))
    maps = [InformationBottleneck(statistics=own)(classifier, images) for own in (wide, one)]
    torch.testing.assert_close(maps[0], maps[1])


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"samples": 0},
        {"batch_size": 0},
        {"beta": -1.0},
        {"smoothing": -1.0},
        {"learning_rate": 0.0},
        {"min_std": 0.0},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        InformationBottleneck(**options)
