"""Networks of amortized Opti-CAM: their map is Eq. 8, and they belong to no order of channels."""

import pytest
import torch

from learned_saliency.models import (
    Amortized,
    CAMClassifier,
    ChannelWeights,
    EvidenceDecoder,
    head_with_gradients,
)
from tests.support.networks import TinyBackbone

K = 6


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(form):
    """A network whose last layer is not at its beginning."""
    torch.manual_seed(0)
    network = form(K).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


@pytest.fixture
def inputs():
    return random(3, K, 5, 4).relu(), random(3, K, 5, 4, seed=1)


def test_an_untrained_network_weighs_all_channels_equally(inputs):
    features, gradients = inputs
    maps = ChannelWeights(K)(features, gradients)
    torch.testing.assert_close(maps, features.mean(dim=1))


def test_the_map_of_the_weights_is_equation_8(inputs):
    features, gradients = inputs
    network = trained(ChannelWeights)
    u = network.weights(features, gradients)
    maps = network(features, gradients)
    for image in range(3):
        share = u[image].exp() / u[image].exp().sum()
        expected = sum(share[k] * features[image, k] for k in range(K))
        torch.testing.assert_close(maps[image], expected)
    assert float(u.detach().std(dim=1).min()) > 1e-3


def test_the_order_of_the_channels_is_the_order_of_the_weights(inputs):
    features, gradients = inputs
    network = trained(lambda channels: ChannelWeights(channels, reading=0))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    u = network.weights(features, gradients)
    shuffled = network.weights(features[:, order], gradients[:, order])
    torch.testing.assert_close(shuffled, u[:, order])


def test_learned_vectors_tell_channels_apart(inputs):
    network = trained(lambda channels: ChannelWeights(channels, embedding=4))
    alike = [numbers[:, :1].expand(-1, K, -1, -1) for numbers in inputs]
    assert float(network.weights(*alike).std(dim=1).min()) > 1e-4
    plain = trained(ChannelWeights).weights(*alike)
    torch.testing.assert_close(plain, plain[:, :1].expand(-1, K))


@pytest.mark.parametrize("form", [ChannelWeights, EvidenceDecoder])
def test_images_do_not_see_each_other_and_zeros_stay_finite(form, inputs):
    network = trained(form)
    together = network(*inputs)
    alone = torch.cat([network(*(n[i : i + 1] for n in inputs)) for i in range(3)])
    torch.testing.assert_close(together, alone)
    nothing = [torch.zeros(1, K, 3, 3).requires_grad_() for _ in range(2)]
    maps = network(*nothing)
    assert bool(maps.isfinite().all())
    assert maps.dtype == torch.float32


@pytest.mark.parametrize("form", [ChannelWeights, EvidenceDecoder])
def test_maps_are_made_in_float32_under_autocast(form, inputs):
    network = trained(form)
    half = [numbers.bfloat16() for numbers in inputs]
    expected = network(*(numbers.float() for numbers in half))
    with torch.autocast("cpu", torch.bfloat16):
        found = network(*half)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_the_decoder_doubles_the_features_and_gives_probabilities(inputs):
    maps = trained(lambda channels: EvidenceDecoder(channels, 8, 2))(*inputs)
    assert maps.shape == (3, 20, 16)
    assert bool(((maps > 0) & (maps < 1)).all())


@pytest.mark.parametrize("form", [ChannelWeights, EvidenceDecoder])
def test_other_features_are_refused(form):
    with pytest.raises(ValueError, match=r"reads features \(B, 6, h, w\), got \(1, 7, 3, 3\)"):
        form(K)(torch.rand(1, 7, 3, 3), torch.rand(1, 7, 3, 3))
    with pytest.raises(ValueError, match="at least 1"):
        form(K, 0)


class OtherHead(CAMClassifier):
    """The same classifier without the closed form of its gradient."""

    @property
    def head_gradients(self):
        raise AttributeError


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return CAMClassifier(TinyBackbone(), 4).eval().requires_grad_(False)


def test_the_closed_form_is_the_gradient_of_the_head(classifier):
    features, targets = random(3, K, 5, 4), torch.tensor([1, 3, 0])
    other = OtherHead(TinyBackbone(), 4).eval().requires_grad_(False)
    other.load_state_dict(classifier.state_dict())
    for given in (targets, None, lambda logits: logits.argmin(dim=1)):
        closed = head_with_gradients(classifier, features, given)
        by_autograd = head_with_gradients(other, features, given)
        torch.testing.assert_close(tuple(closed), tuple(by_autograd))
        with torch.inference_mode():
            inside = head_with_gradients(other, features.clone(), given)
        torch.testing.assert_close(tuple(inside), tuple(closed))
    assert not by_autograd.logits.requires_grad


@pytest.mark.parametrize("form", [ChannelWeights, EvidenceDecoder])
def test_the_classifier_is_frozen_and_runs_once(classifier, form):
    network = Amortized(classifier, form).train()
    passes = []
    classifier.backbone.register_forward_hook(lambda *_: passes.append(1))
    images = random(2, 3, 32, 32)
    output = network(images)
    assert len(passes) == 1
    assert not classifier.training
    assert network.form.training
    torch.testing.assert_close(output.logits, classifier(images))
    torch.testing.assert_close(output.targets, output.logits.argmax(1))
    output.maps.sum().backward()
    assert all(p.grad is None for p in classifier.parameters())
    assert any(p.grad is not None for p in network.form.parameters())
