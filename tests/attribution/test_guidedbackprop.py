"""Guided backpropagation against captum, pytorch-grad-cam and the formula."""

import captum.attr
import pytest
import pytorch_grad_cam
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import GuidedBackprop, VanillaGradient, split

TARGETS = torch.tensor([1, 3])
PEERS = {"guided": captum.attr.GuidedBackprop, "deconvolution": captum.attr.Deconvolution}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def attributions(method, classifier, images, targets=TARGETS):
    with method._query(classifier, images, targets) as query:
        return method.attributions(query)


@pytest.mark.filterwarnings("ignore:Setting backward hooks")
@pytest.mark.parametrize("rule", list(PEERS))
@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (torchvision.models.squeezenet1_1, "features"),  # concatenations
        (torchvision.models.resnet18, "layer4"),  # additions, one module for several ReLUs
    ],
)
def test_attributions_are_captums(make, layer, rule):
    torch.manual_seed(0)
    network = make(num_classes=5).eval().double()
    images = IMAGES.double()
    found = attributions(GuidedBackprop(rule=rule), split(network, layer), images)
    leaf = images.clone().requires_grad_()
    expected = PEERS[rule](network).attribute(leaf, target=TARGETS)
    torch.testing.assert_close(found, expected)
    assert expected.abs().max() > 1e-3


def test_attributions_are_those_of_pytorch_grad_cam():
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(num_classes=5).eval()
    found = attributions(GuidedBackprop(), split(network, "features"), IMAGES)
    peer = pytorch_grad_cam.GuidedBackpropReLUModel(network, device="cpu")  # it keeps changed ReLUs
    for row, image, target in zip(found, IMAGES, TARGETS, strict=True):
        expected = torch.from_numpy(peer(image[None].clone(), int(target))).permute(2, 0, 1)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-6)


class Functional(nn.Module):
    """A network of functional rectifiers, computed by hand below."""

    def __init__(self, rectify):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
        self.rectify = rectify

    def forward(self, images):
        return self.second(self.rectify(self.first(images))).mean((2, 3))


@pytest.mark.parametrize(
    ("rectify", "bound"),
    [
        (F.relu, float("inf")),
        (lambda x: F.relu_(x), float("inf")),
        (F.relu6, 6.0),
        (nn.ReLU6(inplace=True), 6.0),
    ],
)
@pytest.mark.parametrize("rule", ["guided", "deconvolution"])
def test_rule_is_the_formula_for_functions(rectify, bound, rule):
    torch.manual_seed(0)
    network = Functional(rectify).double()
    network.first.weight.data *= 8  # some values lie above 6
    images = IMAGES[:, :, :9, :9].double()
    found = attributions(GuidedBackprop(rule=rule), split(network, "second"), images, TARGETS % 2)[
        0
    ]

    hidden = network.first(images[:1])
    cells = torch.full((1, 2, 5, 5), 1 / 25, dtype=torch.float64)
    cells[:, 0] = 0  # class 1
    backward = F.conv_transpose2d(cells, network.second.weight).relu()
    if rule == "guided":
        backward = backward * (hidden > 0) * (hidden < bound)
    assert (hidden > 6).any()
    torch.testing.assert_close(found, F.conv_transpose2d(backward, network.first.weight)[0])


def test_map_is_made_as_that_of_the_gradient(tiny_cnn, images):
    classifier, targets = tiny_cnn("linear"), torch.tensor([0, 5, 2, 5])
    colors = attributions(GuidedBackprop(), classifier, images, targets)
    expected = VanillaGradient(blur_sigma=0).raw_maps(classifier, images, targets)
    assert (colors.abs().amax(1) - expected).abs().max() > 1e-4
    plain = GuidedBackprop(blur_sigma=0).raw_maps(classifier, images, targets)
    torch.testing.assert_close(plain, colors.abs().amax(1))


def test_relu6_of_efficientnet_lite_is_guided():
    torch.manual_seed(0)
    classifier = split(
        timm.create_model("tf_efficientnet_lite0", num_classes=5).eval(), "bn2", tracing=False
    )
    images = IMAGES[:, :, :32, :32]
    guided = attributions(GuidedBackprop(), classifier, images)
    with VanillaGradient()._query(classifier, images, TARGETS) as query:
        plain = VanillaGradient().attributions(query)
    assert (guided - plain).abs().max() > 0.1 * plain.abs().max()


def test_networks_without_relu_are_refused():
    classifier = split(timm.create_model("convnext_atto", num_classes=5).eval(), "stages.3")
    with pytest.raises(ValueError, match="the network calls none; take IntegratedGradients"):
        GuidedBackprop()(classifier, IMAGES, TARGETS)


@pytest.mark.parametrize("options", [{"rule": "relu"}, {"blur_sigma": -1.0}, {"batch_size": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"expected|must be one of"):
        GuidedBackprop(**options)


def test_classes_out_of_range_are_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match=r"targets must be in \[0, 10\)"):
        GuidedBackprop()(tiny_cnn("linear"), images, torch.tensor([0, 1, 2, 10]))
