"""Feedback against a loop over layers with gates of their own, as the released code has them."""

import pytest
import torch
from torch import nn

from learned_saliency.attribution import Feedback, GuidedBackprop, split


def attributions(method, classifier, images, targets):
    with method._query(classifier, images, targets) as query:
        return method.attributions(query)


def deep():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 6, 3), nn.ReLU()]
    layers += [nn.Conv2d(6, 6, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(24, 8)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(8, 4)).double()


def loop(network, image, target, rounds):
    """Gate what ReLUs and max pooling take, layer by layer, by the sign of what comes back."""
    gates = {}
    for _ in range(rounds):
        values, value = [], image
        for place, layer in enumerate(network):
            given = value.detach().requires_grad_()
            gated = given * gates[place] if place in gates else given * 1
            value = layer(gated)
            values.append((given, value))
        outgoing = torch.zeros_like(value)
        outgoing[0, target] = 1
        for place in reversed(range(len(network))):
            given, value = values[place]
            (alpha,) = torch.autograd.grad(value, given, outgoing)
            if isinstance(network[place], nn.ReLU | nn.MaxPool2d):
                gates[place] = (alpha > 0).double()
                alpha = gates[place] * alpha
            outgoing = alpha
    return outgoing


@pytest.mark.parametrize("rounds", [1, 2, 6])
def test_gradient_is_that_of_a_loop_with_gates(rounds):
    network = deep()
    images = torch.randn(3, 3, 14, 14, generator=torch.Generator().manual_seed(1)).double()
    classifier = split(network, "4")
    targets = torch.tensor([2, 0, 3])
    found = attributions(Feedback(rounds=rounds), classifier, images, targets)
    rows = zip(images.split(1), targets.tolist(), strict=True)
    expected = [loop(network, image, target, rounds) for image, target in rows]
    torch.testing.assert_close(found, torch.cat(expected))
    guided = attributions(GuidedBackprop(), classifier, images, targets)
    assert torch.equal(found, guided) == (rounds == 1)


def test_rounds_come_to_an_end():
    network = deep()
    images = torch.randn(3, 3, 14, 14, generator=torch.Generator().manual_seed(1)).double()
    classifier, targets = split(network, "4"), torch.tensor([2, 0, 3])
    late, later = (
        attributions(Feedback(rounds=rounds), classifier, images, targets) for rounds in (15, 16)
    )
    torch.testing.assert_close(late, later, rtol=0, atol=0)
    early = attributions(Feedback(rounds=1), classifier, images, targets)
    assert (late - early).abs().max() > 0.01 * early.abs().max()


def test_relu6_hands_back_where_it_is_saturated():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(inplace=True), nn.Conv2d(4, 3, 1)).double()
    network.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())
    network[0].bias.data.fill_(20)  # all are
    images = torch.rand(2, 3, 4, 4).double()
    found = attributions(Feedback(rounds=3), split(network, "0"), images, torch.tensor([0, 2]))
    weights = network[2].weight[[0, 2], :, 0, 0].relu() @ network[0].weight[:, :, 0, 0] / 16
    torch.testing.assert_close(found, weights.detach()[:, :, None, None].expand(2, 3, 4, 4))


def test_the_class_stays_that_of_the_network_without_gates():
    network = deep()
    images = torch.randn(8, 3, 14, 14, generator=torch.Generator().manual_seed(1)).double()
    classifier = split(network, "4")
    predicted = network(images).argmax(1)
    method = Feedback(rounds=4, batch_size=3)
    torch.testing.assert_close(
        method(classifier, images), method(classifier, images, predicted), rtol=0, atol=0
    )


def test_networks_without_relu_and_bad_options_are_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="changes how gradients pass ReLUs"):
        Feedback()(split(network, "1"), torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        Feedback(rounds=0)
