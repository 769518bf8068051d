"""Amortized Opti-CAM as a post-hoc method, and as the start of Opti-CAM."""

import pytest
import torch
from torch import nn

from learned_saliency.attribution import CAM, Amortized, OptiCAM, SharedFeatures, split
from learned_saliency.attribution.fitting import fit_weights
from learned_saliency.attribution.objectives import MaskObjective
from tests.support.costs import CountFlops


class GradientWeights(nn.Module):
    """A network with a map of its own by Eq. 8: u is a multiple of the mean gradient."""

    def __init__(self, scale=3.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def weights(self, features, gradients):
        return self.scale * 1000 * gradients.mean(dim=(2, 3))

    def forward(self, features, gradients):
        u = self.weights(features, gradients)
        return torch.einsum("bk,bkhw->bhw", u.softmax(1), features)


class EvidenceMap(nn.Module):
    """A network with a map alone."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, features, gradients):
        return (features * gradients).sum(dim=1).sigmoid()


@pytest.fixture(params=["linear", "mlp"])
def classifier(request, tiny_cnn):
    return tiny_cnn(request.param)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, 32, 32, generator=generator, dtype=torch.float64)


TARGETS = torch.tensor([2, 0, 7])


def test_the_map_is_that_of_opticam_with_the_same_u(classifier, images):
    method = Amortized(GradientWeights())
    maps = method(classifier, images, TARGETS)
    coefficients = method.coefficients(classifier, images, TARGETS)
    torch.testing.assert_close(coefficients.sum(1), torch.ones(3, dtype=torch.float64))
    raw = torch.einsum("bk,bkhw->bhw", coefficients, classifier.features(images))
    expected = MaskObjective().masks(raw, (32, 32))
    torch.testing.assert_close(maps, expected.detach())
    torch.testing.assert_close(method.raw_maps(classifier, images, TARGETS), raw.detach())


@pytest.mark.parametrize("normalization", ["range", "max", "sigmoid"])
def test_opticam_starts_at_the_objective_of_the_one_pass_form(classifier, images, normalization):
    start = Amortized(GradientWeights(), normalization=normalization)
    maps = start(classifier, images, TARGETS)
    with torch.no_grad():
        masked = classifier(images * maps[:, None]).gather(1, TARGETS[:, None])[:, 0]
    method = OptiCAM(iterations=1, start=start, normalization=normalization)
    result = method.optimize(classifier, images, TARGETS)
    torch.testing.assert_close(result.objective[0], masked)
    plain = OptiCAM(iterations=1, normalization=normalization)
    other = plain.optimize(classifier, images, TARGETS)
    assert not torch.allclose(other.objective[0], masked)


def test_a_map_of_another_form_is_started_from_by_the_nearest_weights(classifier, images):
    start = Amortized(EvidenceMap())
    raw = start.raw_maps(classifier, images, TARGETS)
    expected = fit_weights(classifier.features(images).detach(), raw)
    method = OptiCAM(iterations=1, learning_rate=1e-9, start=start)
    u = method.optimize(classifier, images, TARGETS).u
    torch.testing.assert_close(u, expected, rtol=0, atol=1e-6)
    coefficients = start.coefficients(classifier, images, TARGETS)
    torch.testing.assert_close(coefficients, expected.softmax(1))


def test_a_start_at_zero_is_no_start(classifier, images):
    zero = OptiCAM(iterations=5, start=Amortized(GradientWeights(0.0)))
    found = zero.optimize(classifier, images, TARGETS)
    torch.testing.assert_close(
        tuple(found), tuple(OptiCAM(iterations=5).optimize(classifier, images, TARGETS))
    )


def test_shared_features_and_inference_leave_everything_as_it_was(classifier, images):
    network = GradientWeights().train()
    shared = SharedFeatures(classifier, images)
    maps = Amortized(network)(shared, images, TARGETS)
    torch.testing.assert_close(maps, Amortized(network)(classifier, images, TARGETS))
    assert network.training
    assert network.scale.requires_grad
    assert network.scale.grad is None
    assert isinstance(Amortized(network), type(OptiCAM(start=Amortized(network)).start))
    assert not hasattr(CAM(), "u")


def test_one_pass_costs_the_backbone_once_and_the_head_three_times(images):
    """At most 1.3 forwards where the head is a tenth of the network, as SqueezeNet's is."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Conv2d(16, 40, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    images = images.float()
    classifier = split(network, "4", layout="channels_first")  # no passes to recognize it
    with CountFlops() as forward:
        network(images)
    passes = []
    network[0].register_forward_hook(lambda *_: passes.append(1))
    with CountFlops() as one_pass:
        Amortized(EvidenceMap())(classifier, images)
    assert len(passes) == 1
    assert 1 < one_pass.total / forward.total <= 1.3
