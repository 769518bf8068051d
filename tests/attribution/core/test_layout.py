"""Layouts of layers' outputs: recognized or refused, never read the wrong way round."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from learned_saliency import attribution
from learned_saliency.attribution import split

METHODS = {
    "cam": attribution.CAM,
    "gradcam": attribution.GradCAM,
    "gradcampp": attribution.GradCAMPlusPlus,
    "smoothgradcampp": attribution.SmoothGradCAMPlusPlus,
    "xgradcam": attribution.XGradCAM,
    "hirescam": attribution.HiResCAM,
    "layercam": attribution.LayerCAM,
    "scorecam": attribution.ScoreCAM,
    "ablationcam": attribution.AblationCAM,
    "liftcam": attribution.LIFTCAM,
    "shapcam": lambda: attribution.SHAPCAM(orderings=3),
    "opticam": lambda: attribution.OptiCAM(iterations=3),
}
SIDE = 8  # K, h and w of the layers below: no form tells them apart


class Turning(nn.Module):
    """A network with the same features channels first, channels last and as tokens."""

    def __init__(self, channels=SIDE, prefix=0, size=None, last_prefix=0):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, channels, 4, 4)
        self.first, self.last, self.tokens, self.across = (nn.Identity() for _ in range(4))
        self.prefix = nn.Parameter(torch.randn(1, prefix, channels))
        self.out = nn.Linear(channels, 3)
        self.size, self.last_prefix = size, last_prefix

    def forward(self, images):
        if self.size is not None:
            torch._assert(images.shape[-2] == self.size[0], "it takes one height")
            torch._assert(images.shape[-1] == self.size[1], "it takes one width")
        x = self.first(self.conv(images).relu())
        x = self.last(x.permute(0, 2, 3, 1))
        rows, columns = x.shape[1], x.shape[2]
        tokens = x.flatten(1, 2)
        parts = [self.prefix.expand(x.shape[0], -1, -1), tokens]
        tokens = self.tokens(torch.cat(parts[::-1] if self.last_prefix else parts, 1))
        tokens = self.across(tokens.transpose(1, 2)).transpose(1, 2)
        count = self.prefix.shape[1]
        tokens = tokens[:, :-count] if self.last_prefix else tokens[:, count:]
        return self.out(tokens.unflatten(1, (rows, columns)).mean((1, 2)))


def images(height=4 * SIDE, width=4 * SIDE):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tracing", [True, False], ids=["traced", "hooked"])
@pytest.mark.parametrize("method", METHODS)
def test_maps_and_weights_are_those_of_the_same_features_channels_first(method, tracing):
    """K, h and w are equal, so that a wrong reading has the right form everywhere."""
    network, targets = Turning(prefix=1).eval(), torch.tensor([0, 2])
    found = {}
    for layer in ("first", "last", "tokens"):
        classifier = split(network, layer, tracing=tracing)
        given = classifier, images(), targets
        weights = METHODS[method]().coefficients(*given) if method in WEIGHED else torch.zeros(1)
        found[layer] = METHODS[method]()(*given), weights
    assert found["first"][0].amax() > 0
    for layer in ("last", "tokens"):
        torch.testing.assert_close(found[layer], found["first"], rtol=1e-4, atol=1e-4)


WEIGHED = [name for name, method in METHODS.items() if hasattr(method(), "coefficients")]


@pytest.mark.parametrize("size", [None, (32, 32), (32, 64), (64, 32)], ids=str)
@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("layer", ["first", "last", "tokens"])
def test_layers_of_networks_of_any_size_and_of_one_size(layer, prefix, size):
    """Networks of one size: up to two tokens before the grid are found by proportions."""
    network = Turning(prefix=prefix, size=size).eval()
    given = images(*(size or (32, 64)))
    if layer == "tokens" and prefix == 5 and size is not None:
        with pytest.raises(ValueError, match="are no grid"):
            split(network, layer).features(given)
        classifier = split(network, layer, prefix_tokens=5)
    else:
        classifier = split(network, layer)
    expected = network.first(network.conv(given).relu())
    torch.testing.assert_close(classifier.features(given), expected)
    torch.testing.assert_close(classifier.head(expected), network(given))


@pytest.mark.parametrize("size", [None, (32, 32)], ids=str)
def test_channels_before_tokens_are_refused(size):
    """Also where there are as many channels as tokens, (B, 64, 64)."""
    classifier = split(Turning(channels=64, size=size).eval(), "across")
    with pytest.raises(ValueError, match=r"layer 'across': it gives \(B, 64, 64\).*channels_first"):
        classifier.features(images())


def test_tokens_behind_the_grid_are_refused():
    network = Turning(prefix=1, size=(32, 32), last_prefix=1).eval()
    split(network, "first").features(images())
    with pytest.raises(ValueError, match="neither other sizes nor changes"):
        split(network, "tokens").features(images())


class Reordered(nn.Module):
    """Tokens in an order of their own, as Hiera's blocks have them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.tokens, self.out = nn.Conv2d(3, 6, 4, 4), nn.Identity(), nn.Linear(6, 2)

    def forward(self, images):
        x = self.conv(images).flatten(2).transpose(1, 2)  # (B, 64, 6)
        order = torch.arange(64).view(2, 4, 2, 4).transpose(1, 2).flatten()
        return self.out(self.tokens(x[:, order]).mean(1))


class Heads(nn.Module):
    """Attention of each token to each other, (B, heads, N, N), as a layer's output."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.attention = nn.Conv2d(3, 6, 8, 8), nn.Softmax(dim=-1)
        self.out = nn.Linear(6, 2)

    def forward(self, images):
        x = self.conv(images).flatten(2).transpose(1, 2).unflatten(2, (2, 3)).transpose(1, 2)
        x = self.attention(x @ x.transpose(-1, -2)) @ x
        return self.out(x.transpose(1, 2).flatten(2).mean(1))


@pytest.mark.parametrize(("build", "layer"), [(Reordered, "tokens"), (Heads, "attention")])
def test_what_is_no_grid_in_order_is_refused(build, layer):
    with pytest.raises(ValueError, match=f"layer '{layer}': it gives"):
        split(build().eval(), layer).features(images())


class Windows(nn.Module):
    """Windows of the image in the batch's place, as within Swin's attention."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 2)

    def forward(self, images):
        x = images.unflatten(3, (2, -1)).movedim(3, 1).flatten(0, 1)
        return self.out(self.conv(x).mean((2, 3)).unflatten(0, (-1, 2)).mean(1))


def test_parts_of_images_in_the_place_of_images_are_refused():
    with pytest.raises(ValueError, match="not one grid for each"):
        split(Windows().eval(), "conv").features(images())


def swin(name, **options):
    small = {"img_size": 64, "window_size": 2, "embed_dim": 8, "depths": (1, 1, 2, 1)}
    return timm.create_model(name, num_heads=(1, 2, 2, 2), num_classes=3, **small, **options)


LIBRARY = {
    "timm swin": (lambda: swin("swin_tiny_patch4_window7_224"), "layers.2", "channels_last"),
    "timm swinv2_cr": (lambda: swin("swinv2_cr_tiny_224"), "stages.2", "channels_first"),
    "torchvision swin": (
        lambda: torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [4, 4]),
        "features",
        "channels_last",
    ),
    "convnext": (
        lambda: timm.create_model("convnext_atto", depths=(1, 1, 1, 1), num_classes=3),
        "stages.3",
        "channels_first",
    ),
    "inside convnext": (
        lambda: timm.create_model("convnext_tiny", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)),
        "stages.3.blocks.0.norm",
        "channels_last",
    ),
}


@pytest.mark.parametrize("case", LIBRARY)
def test_libraries_layouts_are_recognized(case):
    build, layer, layout = LIBRARY[case]
    torch.manual_seed(0)
    network = build().eval()
    classifier, given = split(network, layer), images(64, 64)
    features = classifier.features(given)
    assert classifier.layout.name == layout
    kept = []
    handle = network.get_submodule(layer).register_forward_hook(lambda *a: kept.append(a[2]))
    logits = network(given)
    handle.remove()
    expected = kept[0].permute(0, 3, 1, 2) if layout == "channels_last" else kept[0]
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(classifier.head(features), logits)


class Mixing(nn.Module):
    """Every cell depends on the whole image alike, and the network takes one size."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.layer = nn.Linear(3 * 32 * 32, SIDE**3), nn.Identity()
        self.norm, self.out = nn.BatchNorm2d(SIDE), nn.Linear(SIDE, 2)

    def forward(self, images):
        x = self.layer(self.mix(images.flatten(1)).view(-1, SIDE, SIDE, SIDE))
        return self.out(self.norm(x.relu()).mean((2, 3)))


def test_a_function_that_puts_channels_first_decides_where_nothing_else_does():
    network = Mixing().eval()
    classifier = split(network, "layer")
    classifier.features(images())
    assert classifier.layout.name == "channels_first"
    network.norm = nn.Identity()
    with pytest.raises(ValueError, match="neither other sizes nor changes"):
        split(network, "layer").features(images())
    for layout in ("channels_first", "channels_last"):  # a word settles it
        assert split(network, "layer", layout=layout).features(images()).shape[1] == SIDE


def test_recognition_leaves_the_network_as_it_was():
    network = Turning(prefix=1)
    network.norm = nn.BatchNorm2d(3)
    network.conv = nn.Sequential(network.norm, network.conv)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    classifier = split(network, "last", tracing=False)
    with torch.no_grad():
        attribution.GradCAM()(classifier, images())
    assert network.training
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert all(weight.requires_grad for weight in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(("layer", "layout"), [("last", "tokens"), ("tokens", "channels_last")])
def test_a_named_layout_must_have_the_output_s_axes(layer, layout):
    with pytest.raises(ValueError, match=f"{layout} has . axes, the output"):
        split(Turning().eval(), layer, layout=layout).features(images())
