"""LRP-CAM against captum's LRP, loops, and what the epsilon rule is for networks of ReLUs."""

import captum.attr
import pytest
import timm
import torch
import torchvision
from torch import nn

from learned_saliency.attribution import LIFTCAM, LRPCAM, ExcitationBackprop, split

TARGETS = torch.tensor([1, 3])
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()


def without_inplace(network):
    """Make every ReLU one that captum can follow."""
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


def relevance(method, classifier, images=IMAGES, targets=TARGETS):
    with method._query(classifier, images, targets) as query:
        return method._relevance(query)


@pytest.mark.parametrize(("layer", "epsilon"), [("features.5", 1e-9), ("features.8", 1e-3)])
def test_relevance_is_captums(layer, epsilon):
    torch.manual_seed(0)
    network = without_inplace(torchvision.models.squeezenet1_1(num_classes=5)).eval().double()
    found = relevance(LRPCAM(epsilon=epsilon), split(network, layer))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            module.rule = captum.attr._utils.lrp_rules.EpsilonRule(epsilon)
    peer = captum.attr.LayerLRP(network, network.get_submodule(layer))
    expected = peer.attribute(IMAGES, target=TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (torchvision.models.resnet18, "layer2"),  # additions, batch normalization
        (torchvision.models.densenet121, "features.denseblock3"),  # it in front of ReLUs
        (torchvision.models.squeezenet1_1, "features.5"),
    ],
)
def test_epsilon_rule_is_gradient_times_activation_for_relus(make, layer):
    torch.manual_seed(0)
    network = make(num_classes=5).eval().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.bias.data.normal_(0, 0.1)
    classifier = split(network, layer)
    method = LRPCAM(epsilon=1e-14)
    with method._query(classifier, IMAGES, TARGETS) as query:
        expected = query.gradients * query.features
    torch.testing.assert_close(relevance(method, classifier), expected, rtol=1e-4, atol=1e-8)
    weights = method.coefficients(classifier, IMAGES, TARGETS)
    torch.testing.assert_close(weights, expected.sum((2, 3)), rtol=1e-4, atol=1e-8)


def test_weights_of_an_affine_head_are_lift_cams(tiny_cnn, images):
    classifier, targets = tiny_cnn("linear"), torch.tensor([0, 5, 2, 5])
    expected = LIFTCAM().coefficients(classifier, images, targets)
    found = LRPCAM().coefficients(classifier, images, targets)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    without_bias = classifier(images)[range(4), targets] - classifier.fc.bias[targets]
    torch.testing.assert_close(found.sum(1), without_bias.detach(), rtol=1e-6, atol=1e-9)


def test_weights_without_biases_add_up_to_the_logit(tiny_cnn, images):
    classifier = tiny_cnn("mlp")
    classifier.mlp1.bias.data.zero_()
    classifier.mlp2.bias.data.zero_()
    targets = torch.tensor([0, 5, 2, 5])
    weights = LRPCAM().coefficients(classifier, images, targets)
    logits = classifier(images)[range(4), targets].detach()
    torch.testing.assert_close(weights.sum(1), logits, rtol=1e-6, atol=1e-9)


def test_epsilon_rule_is_a_loop_over_units_where_epsilon_is_large(tiny_cnn, images):
    classifier, target, epsilon = tiny_cnn("mlp"), 5, 0.05
    found = relevance(LRPCAM(epsilon=epsilon), classifier, images[:1], torch.tensor([target]))[0]
    features = classifier.features(images[:1])[0].detach()

    def handed(layer, values, outgoing):
        given = torch.zeros_like(values)
        for j, incoming in enumerate(outgoing):
            z = layer.weight[j] @ values + layer.bias[j]
            z = z + epsilon * (1 if z >= 0 else -1)
            given += layer.weight[j] * values / z * incoming
        return given.detach()

    pooled = features.mean((1, 2))
    hidden = classifier.mlp1(pooled).relu().detach()
    start = torch.zeros(10, dtype=torch.float64)
    start[target] = classifier.mlp2(hidden)[target].detach()
    expected = handed(classifier.mlp1, pooled, handed(classifier.mlp2, hidden, start))
    share = features / 64 / (pooled + epsilon)[:, None, None]
    torch.testing.assert_close(found, share * expected[:, None, None])


def test_zplus_rule_is_excitation_backpropagation_of_channels():
    torch.manual_seed(0)
    classifier = split(torchvision.models.resnet18(num_classes=5).eval().double(), "layer3")
    found = relevance(LRPCAM(rule="zplus"), classifier)
    winning = ExcitationBackprop().raw_maps(classifier, IMAGES, TARGETS)
    torch.testing.assert_close(found.sum(1), winning)
    assert (LRPCAM(rule="zplus").coefficients(classifier, IMAGES, TARGETS) >= 0).all()


def test_gates_hand_relevance_to_what_they_scale():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.gate, self.last = nn.Conv2d(3, 4, 1), nn.Linear(4, 4), nn.Linear(4, 3)

        def features(self, images):
            return self.inner(images).relu()

        def head(self, features):
            gate = self.gate(features.mean((2, 3))).sigmoid()[:, :, None, None]
            return self.last((features * gate).mean((2, 3)))

        def forward(self, images):
            return self.head(self.features(images))

    torch.manual_seed(0)
    classifier = Gated().double()
    images, targets = IMAGES[:, :, :6, :6], torch.tensor([0, 2])
    with torch.no_grad():
        features = classifier.features(images)
        gate = classifier.gate(features.mean((2, 3))).sigmoid()
        expected = classifier.last.weight[targets] * gate * features.mean((2, 3))
    found = LRPCAM().coefficients(classifier, images, targets)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_heads_without_rules_and_bad_options_are_refused():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=4, depth=2).eval()
    with pytest.raises(ValueError, match=r"no rule for the function .* GradCAM takes any$"):
        LRPCAM()(split(vit, "blocks.1.norm1"), torch.rand(1, 3, 32, 32))
    for options in ({"rule": "gamma"}, {"epsilon": 0.0}, {"target": "margin"}):
        with pytest.raises(ValueError, match=r"must be|explains the logit"):
            LRPCAM(**options)
