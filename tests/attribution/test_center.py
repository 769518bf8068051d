"""Centered CAM and Grad-CAM: free of what the weights of all classes have in common."""

import copy

import pytest
import torch

from learned_saliency.attribution import CAM, GradCAM, SharedFeatures
from learned_saliency.models import CAMClassifier

TARGETS = torch.tensor([3, 0, 9, 1])
LAST = {"linear": "fc", "mlp": "mlp2"}
PAIRS = pytest.mark.parametrize(
    ("method", "head"), [(CAM, "linear"), (GradCAM, "linear"), (GradCAM, "mlp")]
)


def offset(classifier, head):
    """Add one vector to the weights of all classes."""
    moved = copy.deepcopy(classifier)
    layer = getattr(moved, LAST[head])
    generator = torch.Generator().manual_seed(0)
    layer.weight.data += 3 * torch.randn(layer.in_features, generator=generator).double()
    return moved


@pytest.mark.parametrize(
    ("method", "head"), [(CAM, "linear"), (GradCAM, "linear"), (GradCAM, "mlp")]
)
def test_a_vector_common_to_all_classes_changes_nothing(tiny_cnn, images, method, head):
    classifier = tiny_cnn(head)
    moved = offset(classifier, head)
    logits = [network(images) for network in (classifier, moved)]
    torch.testing.assert_close(*(values.softmax(1) for values in logits))
    expected = method(center=True)(classifier, images, TARGETS)
    torch.testing.assert_close(method(center=True)(moved, images, TARGETS), expected)
    plain = [method()(network, images, TARGETS) for network in (classifier, moved)]
    assert (plain[0] - plain[1]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("method", "head"), [(CAM, "linear"), (GradCAM, "linear"), (GradCAM, "mlp")]
)
def test_weights_are_those_of_a_loop_over_classes(tiny_cnn, images, method, head):
    classifier = tiny_cnn(head)
    every = [method().coefficients(classifier, images, torch.full((4,), c)) for c in range(10)]
    expected = method().coefficients(classifier, images, TARGETS) - sum(every) / 10
    found = method(center=True).coefficients(classifier, images, TARGETS)
    torch.testing.assert_close(found, expected)


def test_the_other_targets_are_free_of_it_and_refuse_the_option(tiny_cnn, images):
    classifier = tiny_cnn("mlp")
    for target in ("probability", "log_probability", "margin"):
        maps = [
            GradCAM(target=target)(network, images, TARGETS)
            for network in (classifier, offset(classifier, "mlp"))
        ]
        torch.testing.assert_close(*maps)
        with pytest.raises(ValueError, match=f"the {target} is free of"):
            GradCAM(target=target, center=True)


class Levels(torch.nn.Module):
    channels = (4,)

    def forward(self, images):
        return [images[:, :1].expand(-1, 4, -1, -1) * torch.arange(1.0, 5).view(4, 1, 1)]


def test_a_classifiers_own_maps_are_centered_by_those_of_all_classes(images):
    torch.manual_seed(0)
    classifier, images = CAMClassifier(Levels(), 10).eval(), images.float()
    shared = SharedFeatures(classifier, images)
    maps = classifier.cams(classifier.features(images)).detach()
    expected = maps[torch.arange(4), TARGETS] - maps.mean(1)
    torch.testing.assert_close(CAM(center=True).raw_maps(shared, images, TARGETS), expected)
    moved = copy.deepcopy(classifier)
    moved.fc.weight.data += torch.randn(4)
    found = CAM(center=True)(moved, images, TARGETS)
    torch.testing.assert_close(
        found, CAM(center=True)(classifier, images, TARGETS), rtol=0, atol=1e-4
    )


def test_probabilities_and_a_single_class_are_refused(tiny_cnn, images):
    classifier = tiny_cnn("linear")
    classifier.cams = lambda features, targets: features[:, 0]
    classifier.cams_are_probabilities = True
    with pytest.raises(ValueError, match="are probabilities"):
        CAM(center=True)(classifier, images, TARGETS)
    single = tiny_cnn("linear")
    single.head = lambda features: features.mean((2, 3))[:, :1]
    for method in (CAM(center=True), GradCAM(center=True)):
        with pytest.raises(ValueError, match="of which there is one"):
            method(single, images, torch.zeros(4).long())
