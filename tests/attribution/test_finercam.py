"""Finer-CAM against pytorch-grad-cam, torchcam and a plain loop over the similar classes."""

import pytest
import pytorch_grad_cam as peer
import torch
import torchvision
from torchcam import methods as torchcam

from learned_saliency.attribution import FinerCAM, GradCAM, split


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=7).eval()
    with torch.no_grad():
        network.fc.weight *= 10  # so that the peers' epsilons do not matter
    return network


@pytest.fixture(scope="module")
def batch():
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("weighting", ["equal", "probability"])
@pytest.mark.parametrize("classes", [None, [4, 0, 1]])
def test_weights_are_those_of_a_loop_over_classes(tiny_cnn, images, weighting, classes):
    classifier, strength = tiny_cnn("mlp"), 0.7
    targets = torch.tensor([3, 0, 9, 1])
    options = {"similar": 2, "strength": strength, "weighting": weighting, "classes": classes}
    found = FinerCAM(**options).coefficients(classifier, images, targets)
    for index, target in enumerate(targets.tolist()):
        leaf = classifier.features(images[index : index + 1]).detach().requires_grad_()
        logits = classifier.head(leaf)[0]
        order = (logits - logits[target]).abs().argsort().tolist()
        others = [c for c in classes or order[1:3] if c != target]
        weights = torch.ones(len(others), dtype=logits.dtype)
        if weighting == "probability":
            weights = logits.softmax(0)[others]
        score = sum(
            w * (logits[target] - strength * logits[c])
            for w, c in zip(weights, others, strict=True)
        )
        (gradient,) = torch.autograd.grad(score / weights.sum(), leaf)
        torch.testing.assert_close(found[index], gradient.mean((2, 3))[0])


def test_maps_are_those_of_pytorch_grad_cam(network, batch):
    method = peer.FinerCAM(network, [network.layer4])
    expected = torch.from_numpy(method(batch))  # strength 1, predicted classes
    ours = FinerCAM(strength=1.0, weighting="probability")
    torch.testing.assert_close(ours(split(network, "layer4"), batch), expected, rtol=0, atol=1e-4)


def test_maps_are_those_of_torchcam(network, batch):
    targets = [2, 5, 0]
    with torchcam.FinerCAM(network, "layer4") as method:
        expected = method(targets, network(batch))[0]
    ours = FinerCAM()
    raw = ours.raw_maps(split(network, "layer4"), batch, torch.tensor(targets))
    torch.testing.assert_close(ours.finish(raw, raw.shape[1:]), expected, rtol=0, atol=1e-4)


def test_without_strength_it_is_grad_cam(tiny_cnn, images):
    classifier = tiny_cnn("flat")
    for weighting in ("equal", "probability"):
        found = FinerCAM(strength=0.0, weighting=weighting).coefficients(classifier, images)
        torch.testing.assert_close(found, GradCAM().coefficients(classifier, images))


def test_all_classes_are_compared_where_there_are_fewer(tiny_cnn, images):
    classifier = tiny_cnn("mlp")
    few, many = FinerCAM(similar=9), FinerCAM(similar=50)
    torch.testing.assert_close(few(classifier, images), many(classifier, images))


def test_a_map_does_not_depend_on_its_batch(tiny_cnn, images):
    classifier = tiny_cnn("mlp")
    together = FinerCAM()(classifier, images)
    torch.testing.assert_close(FinerCAM()(classifier, images[2:3]), together[2:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similar": 0}, "similar"),
        ({"strength": -0.1}, "strength"),
        ({"weighting": "even"}, "weighting"),
        ({"classes": []}, "classes"),
        ({"target": "margin"}, "GradCAM takes any target"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FinerCAM(**options)


@pytest.mark.parametrize(
    ("classes", "message"), [([10], "must be in"), ([3], "the only class"), ([0, 12], "must be in")]
)
def test_classes_that_do_not_fit_are_refused(tiny_cnn, images, classes, message):
    with pytest.raises(ValueError, match=message):
        FinerCAM(classes=classes)(tiny_cnn("mlp"), images, torch.tensor([3, 3, 3, 3]))
