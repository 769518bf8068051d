"""Networks of torchvision and timm, and awkward ones, cut at a layer."""

import copy
import warnings

import pytest
import timm
import torch
import torchvision
from torch import nn

from learned_saliency.attribution import AblationCAM, GradCAM, LayerCAM, split

TV = torchvision.models
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def vit(name="vit_tiny_patch16_224", **options):
    return timm.create_model(name, img_size=64, num_classes=7, **options)


# Network, layer, options of split, shape of the activations, whether the cut is clean.
CUTS = {
    "resnet block": (lambda: TV.resnet18(), "layer4", {}, (512, 2, 2), True),
    "inside a residual block": (lambda: TV.resnet18(), "layer4.1.conv2", {}, (512, 2, 2), False),
    "vgg before an in-place relu": (lambda: thin_vgg(), "features.3", {}, (16, 32, 32), True),
    "vgg in-place relu": (lambda: thin_vgg(), "features.4", {}, (16, 32, 32), True),
    "squeezenet": (lambda: TV.squeezenet1_0(num_classes=7), "features", {}, (512, 3, 3), True),
    "squeezenet fire": (
        lambda: TV.squeezenet1_0(num_classes=7),
        "features.12.squeeze",
        {},
        (64, 3, 3),
        True,
    ),
    "densenet before functional relu": (lambda: thin_densenet(), "features", {}, (18, 4, 4), True),
    "densenet layer": (
        lambda: thin_densenet(),
        "features.denseblock2.denselayer1.conv1",
        {},
        (16, 8, 8),
        False,
    ),
    "mobilenet": (lambda: TV.mobilenet_v2(num_classes=7), "features.18", {}, (1280, 2, 2), True),
    "vit norm": (vit, "blocks.11.norm1", {}, (192, 4, 4), False),
    "deit with two prefix tokens": (
        lambda: vit("deit_tiny_distilled_patch16_224"),
        "blocks.11.norm1",
        {},
        (192, 4, 4),
        False,
    ),
    "vit of averaged tokens": (
        lambda: vit(class_token=False, global_pool="avg"),
        "norm",
        {},
        (192, 4, 4),
        True,
    ),
    "swin": (
        lambda: thin_swin(),
        "norm",
        {"layout": "channels_last"},
        (24, 8, 8),
        True,
    ),
}


def thin_vgg():
    with torch.device("meta"):  # the large layers are replaced
        network = TV.VGG(nn.Identity(), init_weights=False)
    network.features = TV.vgg.make_layers([8, "M", 16, "M", 16])
    network.classifier = nn.Sequential(
        nn.Flatten(), nn.Linear(16 * 49, 8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 7)
    )
    return network


def thin_densenet():
    return TV.DenseNet(
        growth_rate=4, block_config=(2, 2, 2), num_init_features=16, bn_size=4, num_classes=7
    )


def thin_swin():
    return TV.SwinTransformer([4, 4], 12, [2, 2], [2, 2], [4, 4], num_classes=7)


@pytest.mark.parametrize("case", CUTS)
def test_head_of_features_is_the_network(case):
    build, layer, options, shape, clean = CUTS[case]
    torch.manual_seed(0)
    network = build().eval()
    network.requires_grad_(False)
    expected = network(IMAGES)
    classifier = split(network, layer, **options)
    features = classifier.features(IMAGES)
    assert features.shape[1:] == shape
    assert classifier.pure == clean
    given = features.clone()
    torch.testing.assert_close(classifier.head(features), expected)
    torch.testing.assert_close(features, given, rtol=0, atol=0)  # no in-place operation got at it
    torch.testing.assert_close(classifier(IMAGES), expected)
    features, head = classifier.encode(IMAGES)
    rows = torch.tensor([1, 0, 1])
    torch.testing.assert_close(head(features[rows], rows), expected[rows])


@pytest.mark.parametrize("case", ["inside a residual block", "vit norm", "densenet layer"])
def test_traced_head_is_the_hooked_network(case):
    """The two mechanisms, on activations that the network would not have, and their gradients."""
    build, layer, options, _, _ = CUTS[case]
    torch.manual_seed(0)
    network = build().eval()
    traced = split(network, layer, **options)
    hooked = split(network, layer, tracing=False, **options)
    features = traced.features(IMAGES).detach()
    torch.testing.assert_close(hooked.features(IMAGES), features)
    other = (1.5 * features + 0.1).requires_grad_()
    torch.testing.assert_close(traced.head(other), hooked.head(other))
    expected = torch.autograd.grad(hooked.head(other)[:, 2].sum(), other)
    given = torch.autograd.grad(traced.head(other)[:, 2].sum(), other)
    torch.testing.assert_close(given, expected)
    for method in (GradCAM(), LayerCAM()):
        torch.testing.assert_close(method(traced, IMAGES), method(hooked, IMAGES))


def test_head_gradient_is_the_networks_own():
    """Against autograd through the whole network, with a hook that keeps the gradient."""
    torch.manual_seed(0)
    network = vit().eval()
    kept = []
    handle = network.blocks[11].norm1.register_forward_hook(
        lambda module, inputs, output: (output.retain_grad(), kept.append(output))[0]
    )
    network(IMAGES)[:, 3].sum().backward()
    handle.remove()
    expected = kept[0].grad[:, 1:].transpose(1, 2).unflatten(2, (4, 4)).mean((2, 3))
    network.zero_grad()
    classifier = split(network, "blocks.11.norm1")
    weights = GradCAM().coefficients(classifier, IMAGES, torch.tensor([3, 3]))
    assert expected.abs().amax() > 0
    torch.testing.assert_close(weights, expected)


def test_ablation_keeps_each_image_with_its_own_context():
    """Rows of several images in one batch, at a layer with a skip connection around it."""
    torch.manual_seed(0)
    classifier = split(TV.resnet18(num_classes=5).eval(), "layer1.1.conv2")
    images = IMAGES[:, :, :32, :32]
    together = AblationCAM(batch_size=48).coefficients(classifier, images)
    for i in range(2):
        alone = AblationCAM(batch_size=64).coefficients(classifier, images[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], rtol=1e-3, atol=1e-5)


def test_a_layer_that_does_not_exist_lists_those_that_do():
    with pytest.raises(
        ValueError, match=r"no layer 'layer5'; .*nearest first: layer[1-4], "
    ) as info:
        split(TV.resnet18(), "layer5")
    assert "layer4.1.bn2" in str(info.value)


class Awkward(nn.Module):
    """Layers that run twice, never, or to no effect, and one that gives no grid."""

    def __init__(self):
        super().__init__()
        self.twice, self.never = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.ignored, self.out = nn.Conv2d(3, 3, 1), nn.Linear(3, 2)

    def forward(self, x):
        self.ignored(x)
        return self.out(self.twice(self.twice(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("layer", "message"),
    [("twice", "runs 2 times"), ("never", "runs 0 times"), ("ignored", "does not depend")],
)
def test_layers_that_are_no_cut_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        split(Awkward(), layer)
    if layer != "ignored":
        with pytest.raises(ValueError, match=message):
            split(Awkward(), layer, tracing=False).features(IMAGES)


def test_a_layer_without_a_grid_is_refused():
    with pytest.raises(ValueError, match="no spatial grid"):
        split(Awkward(), "out").features(IMAGES)


class Branching(nn.Module):
    """Not traceable: its way depends on numbers of the image."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.out = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 2)

    def forward(self, x):
        x = x if x.mean() > 100 else 2 * x
        return self.out(self.act(self.conv(x)).mean((2, 3)))


def test_untraceable_networks_fall_back_with_a_warning():
    torch.manual_seed(0)
    network = Branching()
    with pytest.warns(UserWarning, match="cannot be traced"):
        classifier = split(network, "conv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split(network, "conv", tracing=False)
    features = classifier.features(IMAGES)
    assert features.amin() < 0  # before the in-place ReLU
    torch.testing.assert_close(classifier.head(features), network(IMAGES))
    GradCAM()(classifier, IMAGES)
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(torch.fx.proxy.TraceError):
        split(network, "conv", tracing=True)


class PaddingBySize(nn.Conv2d):
    """Not traceable: its padding depends on the size of what it gets, as in timm's TF networks."""

    def forward(self, x):
        rest = -x.shape[-1] % 4
        if rest > 0:
            x = nn.functional.pad(x * 1, (0, rest, 0, rest))
        return super().forward(x)


def test_modules_that_cannot_be_traced_run_as_they_are():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Sequential(PaddingBySize(3, 4, 3), nn.ReLU()),
        nn.Sequential(PaddingBySize(4, 6, 3), nn.ReLU(inplace=True)),
        nn.Sequential(PaddingBySize(6, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(6, 3),
    ).eval()
    called = []
    network[2][0].register_forward_hook(lambda module, inputs, output: called.append(1))
    network[0].register_forward_hook(lambda module, inputs, output: called.append(0))
    classifier = split(network, "1", tracing=True)
    assert classifier.traced
    assert classifier.pure
    for side in (32, 37):
        images = torch.rand(2, 3, side, side)
        expected = network(images)
        features = classifier.features(images)
        called.clear()
        torch.testing.assert_close(classifier.head(features), expected)
        assert called == [1]  # the head alone has run
    with pytest.raises(torch.fx.proxy.TraceError):  # the layer is within
        split(nn.Sequential(Branching()), "0.conv", tracing=True)


def test_split_uses_the_live_weights_and_leaves_the_modes():
    network = TV.resnet18(num_classes=5).train()
    classifier = split(network, "layer4")
    assert all(module.training for module in network.modules())
    network.eval()
    with torch.no_grad():
        network.fc.weight.mul_(3)
        network.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        network = network.double()
        images = IMAGES.double()
        expected = network(images)
        torch.testing.assert_close(classifier.head(classifier.features(images)), expected)
        twin = copy.deepcopy(classifier)
        twin.model.fc.weight.zero_()
        torch.testing.assert_close(classifier.head(classifier.features(images)), expected)
        assert (twin(images) == twin.model.fc.bias).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_classifier_comes_in_the_mode_of_its_network(training):
    assert split(TV.resnet18().train(training), "layer4").training is training


def test_head_needs_its_features_where_the_cut_is_not_clean():
    classifier = split(vit().eval(), "blocks.11.norm1")
    with pytest.raises(RuntimeError, match="needs a features"):
        classifier.head(torch.zeros(2, 192, 4, 4))
    features = classifier.features(IMAGES)
    with pytest.raises(ValueError, match="which image each row belongs to"):
        classifier.head(features.repeat(2, 1, 1, 1))


def test_clean_head_runs_without_features_and_on_any_batch():
    network = thin_vgg().eval()
    classifier = split(network, "features.4", layout="channels_first")
    features = torch.rand(5, 16, 32, 32)
    expected = network.classifier(network.avgpool(network.features[5:](features.clone())))
    torch.testing.assert_close(classifier.head(features), expected)


def test_tokens_of_images_that_are_not_square():
    network = timm.create_model("vit_tiny_patch16_224", img_size=(32, 96), num_classes=7).eval()
    images = torch.randn(1, 3, 32, 96, generator=torch.Generator().manual_seed(0))
    classifier = split(network, "blocks.11.norm1")
    assert classifier.features(images).shape == (1, 192, 2, 6)
    assert GradCAM()(classifier, images).shape == (1, 32, 96)


@pytest.mark.parametrize("options", [{"layout": "rows"}, {"prefix_tokens": -1}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match="must"):
        split(Awkward(), "twice", **options)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"nn\.Module"):
        split("resnet50", "layer4")


def test_tokens_that_are_no_grid_are_refused():
    classifier = split(vit().eval(), "blocks.11.norm1", prefix_tokens=4)
    with pytest.raises(ValueError, match="no grid"):
        classifier.features(IMAGES)
