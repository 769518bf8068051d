"""Scores to explain: the words, for every kind of method."""

import itertools
import math

import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import (
    BinaryClassifierOutputTarget,
    ClassifierOutputSoftmaxTarget,
)
from torch import nn
from torch.nn import functional as F

from learned_saliency import attribution
from learned_saliency.attribution import (
    CAM,
    LIFTCAM,
    SHAPCAM,
    AblationCAM,
    Amortized,
    FakeCAM,
    GradCAM,
    HiResCAM,
    OptiCAM,
    PostHocMethod,
    SmoothGradCAMPlusPlus,
    SupersetAggregation,
    VanillaGradient,
    split,
)
from learned_saliency.attribution.core.targets import TARGETS

FURTHER = ("probability", "log_probability", "margin")
CLASSES = torch.tensor([3, 0, 7, 7])


def scores(target, logits, classes):
    """The targets once more, of their definitions."""
    rows = torch.arange(len(logits))
    best_other = torch.stack(
        [torch.cat([y[:c], y[c + 1 :]]).max() for y, c in zip(logits, classes, strict=True)]
    )
    return {
        "logit": logits[rows, classes],
        "probability": F.softmax(logits, dim=1)[rows, classes],
        "log_probability": -F.cross_entropy(logits, classes, reduction="none"),
        "margin": logits[rows, classes] - best_other,
    }[target]


@pytest.mark.parametrize("target", TARGETS)
def test_words_mean_their_definitions(target):
    logits = 5 * torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(TARGETS[target](logits, CLASSES), scores(target, logits, CLASSES))


@pytest.mark.parametrize("target", FURTHER)
@pytest.mark.parametrize("head", ["linear", "flat"])
def test_gradient_methods_take_the_gradient_of_the_score(tiny_cnn, images, head, target):
    classifier = tiny_cnn(head)
    features = classifier.features(images).detach().requires_grad_()
    score = scores(target, classifier.head(features), CLASSES).sum()
    (by_features,) = torch.autograd.grad(score, features)
    weights = GradCAM(target=target).coefficients(classifier, images, CLASSES)
    torch.testing.assert_close(weights, by_features.mean((2, 3)))
    maps = HiResCAM(target=target).raw_maps(classifier, images, CLASSES)
    torch.testing.assert_close(maps, (by_features * features.detach()).sum(1).relu())
    pixels = images.clone().requires_grad_()
    (by_pixels,) = torch.autograd.grad(scores(target, classifier(pixels), CLASSES).sum(), pixels)
    maps = VanillaGradient(target=target, blur_sigma=0).raw_maps(classifier, images, CLASSES)
    torch.testing.assert_close(maps, by_pixels.abs().amax(1))


@pytest.mark.parametrize("target", FURTHER)
@pytest.mark.parametrize("head", ["linear", "mlp", "flat"])
def test_contributions_of_liftcam_add_up_to_the_change_of_the_score(tiny_cnn, images, head, target):
    classifier = tiny_cnn(head)
    weights = LIFTCAM(target=target).coefficients(classifier, images, CLASSES)
    features = classifier.features(images)
    with torch.no_grad():
        change = scores(target, classifier.head(features), CLASSES) - scores(
            target, classifier.head(torch.zeros_like(features)), CLASSES
        )
    torch.testing.assert_close(weights.sum(1), change, rtol=1e-4, atol=1e-6)


class FourChannels(nn.Module):
    """A network of four channels and three classes whose logits are far from each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.out = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        nn.init.normal_(self.out.weight, std=4)
        self.double()

    def features(self, images):
        return self.conv(images).relu()

    def head(self, features):
        return self.out(features.mean((2, 3)))

    def forward(self, images):
        return self.head(self.features(images))


@pytest.mark.parametrize("target", FURTHER)
def test_shapcam_finds_the_shapley_values_of_the_score(images, target):
    classifier, classes = FourChannels(), torch.tensor([0, 1, 2, 1])
    features = classifier.features(images).detach()

    def value(subset):
        present = torch.tensor([k in subset for k in range(4)]).double()
        with torch.no_grad():
            return scores(target, classifier.head(features * present[:, None, None]), classes)

    expected = torch.zeros(4, 4, dtype=torch.float64)
    for k in range(4):
        rest = [other for other in range(4) if other != k]
        for size in range(4):
            share = math.factorial(size) * math.factorial(3 - size) / math.factorial(4)
            for subset in itertools.combinations(rest, size):
                expected[:, k] += share * (value({*subset, k}) - value(set(subset)))
    orders = torch.tensor(list(itertools.permutations(range(4))))
    found = SHAPCAM(orders=orders, target=target).coefficients(classifier, images, classes)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(expected, SHAPCAM().coefficients(classifier, images, classes))


@pytest.mark.parametrize("target", TARGETS)
def test_ablationcam_divides_what_the_score_loses(images, target):
    classifier, classes = FourChannels(), torch.tensor([0, 1, 2, 1])
    features = classifier.features(images).detach()
    full = scores(target, classifier.head(features), classes).detach()
    expected = []
    for k in range(4):
        ablated = features.clone()
        ablated[:, k] = 0
        expected.append(full - scores(target, classifier.head(ablated), classes).detach())
    size = full.abs() if target == "log_probability" else full
    found = AblationCAM(target=target).coefficients(classifier, images, classes)
    torch.testing.assert_close(found, torch.stack(expected, 1) / size[:, None])


def test_noisy_copies_are_scored_alike(images):
    quiet = SmoothGradCAMPlusPlus(noise_std=0.0, target="margin")
    features = FourChannels()
    found = quiet.coefficients(features, images)
    other = SmoothGradCAMPlusPlus(noise_std=0.0).coefficients(features, images)
    assert not torch.allclose(found, other)


@pytest.mark.parametrize("target", FURTHER)
def test_selector_is_opticams_other_word_for_the_target(tiny_cnn, images, target):
    classifier = tiny_cnn("flat")
    by_target = OptiCAM(target=target, iterations=3).optimize(classifier, images, CLASSES)
    by_selector = OptiCAM(selector=target, iterations=3).optimize(classifier, images, CLASSES)
    assert torch.equal(by_target.objective, by_selector.objective)
    masked = (
        images
        * OptiCAM(target=target, iterations=1)
        .optimize(classifier, images, CLASSES)
        .saliency[:, None]
    )
    expected = scores(target, classifier(masked), CLASSES)
    torch.testing.assert_close(by_target.objective[1], expected.detach())
    assert OptiCAM(selector=target, target=target).target == target
    with pytest.raises(ValueError, match="two words for the same option"):
        OptiCAM(selector=target, target="logit")


def test_amortized_reads_the_gradient_that_it_was_trained_with(tiny_cnn, images):
    """Also where another method that explains something else starts from its weights."""
    given = []

    class Network(nn.Module):
        def weights(self, features, gradients):
            given.append(gradients)
            return features.mean((2, 3))

        forward = weights

    classifier = tiny_cnn("flat")
    OptiCAM(start=Amortized(Network()), iterations=1, target="probability")(
        classifier, images, CLASSES
    )
    features = classifier.features(images).detach().requires_grad_()
    score = scores("logit", classifier.head(features), CLASSES).sum()
    torch.testing.assert_close(given[0], *torch.autograd.grad(score, features))


@pytest.mark.parametrize("method", [CAM, lambda target: Amortized(nn.Identity(), target=target)])
def test_methods_of_the_logit_refuse_other_targets(method):
    with pytest.raises(ValueError, match="explains the logit, not the margin; GradCAM"):
        method(target="margin")


def test_a_sum_over_classes_explains_what_its_method_does(tiny_cnn, images):
    inner = GradCAM(target="margin")
    assert SupersetAggregation(inner).target == "margin"
    with pytest.raises(ValueError, match="explain the margin, not the probability"):
        SupersetAggregation(inner, target="probability")
    alone = SupersetAggregation(inner, "class")(tiny_cnn("flat"), images, CLASSES)
    torch.testing.assert_close(alone, inner(tiny_cnn("flat"), images, CLASSES))


def test_a_map_without_a_class_is_the_same_for_every_target(tiny_cnn, images):
    maps = [FakeCAM(target=target)(tiny_cnn("linear"), images) for target in TARGETS]
    assert all(torch.equal(maps[0], other) for other in maps)


@pytest.mark.parametrize("target", FURTHER)
def test_one_class_has_nothing_to_be_compared_with(tiny_cnn, images, target):
    network = tiny_cnn("linear")
    classifier = split(network, "conv3", outputs=lambda logits: logits[:, 2])
    with pytest.raises(ValueError, match=f"target='{target}' compares classes, of which there is"):
        GradCAM(target=target)(classifier, images)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match=r"target must be one of .*'probability'.*: 'logits'"):
        PostHocMethod(target="logits")


class Network(nn.Module):
    """Two convolutions and a linear layer; large logits, as the oracle adds epsilons."""

    def __init__(self, classes):
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.act1 = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
        self.conv2, self.act2 = nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()
        self.out = nn.Linear(6 * 16, classes)
        nn.init.normal_(self.out.weight, std=3)

    def forward(self, images):
        x = self.act2(self.conv2(self.act1(self.conv1(images))))
        return self.out(F.adaptive_avg_pool2d(x, 4).flatten(1))


IMAGES = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(5))


def peer_maps(name, network, targets):
    with getattr(peer, name)(model=network, target_layers=[network.act2]) as method:
        return torch.from_numpy(method(IMAGES, targets))


@pytest.mark.parametrize("name", ["GradCAM", "HiResCAM", "XGradCAM", "LayerCAM"])
def test_maps_of_probabilities_are_those_of_pytorch_grad_cam(name):
    network = Network(5).eval()
    with torch.no_grad():
        classes = network(IMAGES).topk(2).indices[:, 1]  # the most probable one's gradient vanishes
        network.out.weight *= 0.3
    method = getattr(attribution, name)(target="probability")
    found = method(split(network, "act2"), IMAGES, classes)
    expected = peer_maps(name, network, [ClassifierOutputSoftmaxTarget(int(c)) for c in classes])
    assert expected.amax((1, 2)).median() > 0.9  # XGradCAM finds nothing positive in one image
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("category", [0, 1])
def test_one_logit_is_explained_as_pytorch_grad_cam_does(category):
    network = Network(1).eval()
    found = GradCAM()(split(network, "act2"), IMAGES, torch.full((3,), category))
    expected = peer_maps("GradCAM", network, [BinaryClassifierOutputTarget(category)] * 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
