"""Post-hoc methods on heads that are neither affine nor global average pooling."""

import pytest
import torch
from torch import nn

from learned_saliency.attribution import CAM, LIFTCAM, AblationCAM, GradCAM, is_affine
from learned_saliency.models import CAMClassifier, GlobalMaximum, LogSumExp, Wildcat
from tests.support.networks import TinyBackbone

B, K, C = 3, 6, 5
POOLINGS = {
    "max": GlobalMaximum,
    "lse": lambda: LogSumExp(3.0),
    "wildcat": lambda: Wildcat(modalities=2, highest=3, lowest=2),
}


@pytest.fixture(name="classifier", params=POOLINGS)
def make_classifier(request):
    generator = torch.Generator().manual_seed(2)
    classifier = CAMClassifier(TinyBackbone((5, K)), C, pooling=POOLINGS[request.param]())
    for parameter in classifier.parameters():
        nn.init.normal_(parameter, generator=generator)
    return classifier.double().eval()


@pytest.fixture(name="images")
def make_images():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(B, 3, 16, 12, generator=generator, dtype=torch.float64)


TARGETS = torch.tensor([4, 0, 2])


def gradients(classifier, features):
    leaf = features.detach().requires_grad_()
    return torch.autograd.grad(classifier.head(leaf)[range(B), TARGETS].sum(), leaf)[0]


def test_the_maps_of_cam_are_the_classifiers_own(classifier, images):
    features = classifier.features(images)
    assert not is_affine(classifier.head(features)[range(B), TARGETS])
    torch.testing.assert_close(
        CAM().raw_maps(classifier, images, TARGETS), classifier.cams(features, TARGETS).detach()
    )


def test_weights_of_grad_cam_are_means_of_the_gradient(classifier, images):
    found = GradCAM().coefficients(classifier, images, TARGETS)
    expected = gradients(classifier, classifier.features(images)).mean((2, 3))
    torch.testing.assert_close(found, expected)


def test_weights_of_ablation_cam_are_drops_of_the_score(classifier, images):
    found = AblationCAM().coefficients(classifier, images, TARGETS)
    with torch.no_grad():
        features = classifier.features(images)
        whole = classifier.head(features)[range(B), TARGETS]
        for channel in range(K):
            without = features.clone()
            without[:, channel] = 0
            drop = whole - classifier.head(without)[range(B), TARGETS]
            torch.testing.assert_close(found[:, channel] * whole, drop)


def test_weights_of_lift_cam_add_up_and_are_the_path_integral(classifier, images):
    """The class map is affine in A, so the rescale rule averages the derivative from 0 to A."""
    found = LIFTCAM().coefficients(classifier, images, TARGETS)
    features = classifier.features(images).detach()
    nothing = classifier.head(torch.zeros_like(features))
    change = (classifier.head(features) - nothing)[range(B), TARGETS].detach()
    torch.testing.assert_close(found.sum(1), change, rtol=1e-5, atol=1e-7)
    if isinstance(classifier.pooling, GlobalMaximum):
        return  # a maximum that falls goes back evenly to the reference's equal cells
    steps = 500
    total = sum(gradients(classifier, features * ((i + 0.5) / steps)) for i in range(steps)) / steps
    torch.testing.assert_close(found, (total * features).sum((2, 3)), rtol=1e-3, atol=1e-4)
