"""Attention-based dropout layers: plain loops of the formula, and networks that have them."""

import copy

import pytest
import torch
import torch.nn.functional as F
import yaml

from learned_saliency.models import (
    CALM,
    ADLClassifier,
    AttentionDropout,
    CAMClassifier,
    MultiScaleBackbone,
    TransformerBackbone,
    drop_mask,
)
from learned_saliency.models.adl import default_layers
from learned_saliency.trainers import CAMModule
from tests.support.networks import SGD, TinyBackbone
from tests.support.paths import CONFIGS

TINY = {"channels": [8, 8, 16, 24], "stem_width": 8}
SWIN = {"img_size": 64, "embed_dim": 16, "depths": (1,) * 4, "num_heads": (1,) * 4}


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def loops(features, gamma, drops):
    """Features (B, K, h, w) times the drop mask or the importance map, cell by cell."""
    found = features.clone()
    for image in range(features.shape[0]):
        attention = [
            [sum(features[image, :, y, x].tolist()) / features.shape[1] for x in range(5)]
            for y in range(4)
        ]
        largest = max(map(max, attention))
        for y in range(4):
            for x in range(5):
                value = torch.tensor(attention[y][x], dtype=torch.float64)
                kept = float(attention[y][x] < gamma * largest)
                found[image, :, y, x] *= kept if drops else 1 / (1 + torch.exp(-value))
    return found


@pytest.mark.parametrize("gamma", [0.0, 0.4, 0.9, 1.0])
@pytest.mark.parametrize("drops", [True, False])
def test_features_are_those_of_plain_loops(gamma, drops):
    features = images(3, 6, 4, 5).relu().double()
    given = features.clone()
    layer = AttentionDropout(drop_rate=float(drops), gamma=gamma)
    wanted = loops(features, gamma, drops)
    torch.testing.assert_close(layer(features), wanted)
    last = AttentionDropout(drop_rate=float(drops), gamma=gamma, channel_dim=-1)
    found = last(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(features, given)


def test_a_mask_drops_the_most_telling_cells_of_each_image():
    attention = torch.tensor([[0.0, 7.9, 8.0, 10.0], [0.0, 0.0, 0.0, 0.1], [-4.0, -3, -2, -1]])
    kept = drop_mask(attention[:, None, None], 0.8)[:, 0, 0]
    assert kept.tolist() == [[True, True, False, False], [True, True, True, False], [True] * 4]


def test_one_of_both_maps_is_drawn_for_the_batch_at_the_rate():
    torch.manual_seed(0)
    features = images(4, 3, 5, 5).relu()
    dropped, weighted = (AttentionDropout(drop_rate=rate)(features) for rate in (1.0, 0.0))
    layer, drops = AttentionDropout(drop_rate=0.75), 0
    for _ in range(400):
        found = layer(features)
        drops += torch.equal(found, dropped)
        assert torch.equal(found, dropped) or torch.equal(found, weighted)
    assert 0.7 < drops / 400 < 0.8


@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
def test_its_gradient_is_that_of_the_formula(drop_rate):
    features = images(2, 3, 3, 3).double().requires_grad_()
    layer = AttentionDropout(drop_rate, gamma=0.7)
    assert torch.autograd.gradcheck(layer, features)
    torch.manual_seed(0)
    network = ADLClassifier(TinyBackbone(), 3, drop_rate, 0.7, layers=["0", "1"]).double()
    for part in network.backbone.network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()  # its gradient is not smooth where numbers are few
    pixels = images(2, 3, 8, 8, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: F.cross_entropy(network(x), torch.tensor([2, 0])), pixels
    )


def test_half_precision_features_stay_so():
    features = images(2, 3, 4, 4).relu().bfloat16()
    for drop_rate in (0.0, 1.0):
        assert AttentionDropout(drop_rate)(features).dtype == torch.bfloat16


@pytest.fixture(name="pair")
def make_pair():
    torch.manual_seed(0)
    network = ADLClassifier(MultiScaleBackbone("resnet10t", **TINY), 5, drop_rate=1.0)
    plain = CAMClassifier(MultiScaleBackbone("resnet10t", **TINY), 5)
    plain.load_state_dict(network.state_dict())  # names are the same
    return network, plain


def test_in_evaluation_it_is_the_cam_classifier(pair):
    network, plain = (part.eval() for part in pair)
    batch = images(2, 3, 64, 64)
    torch.testing.assert_close(network(batch), plain(batch), rtol=0, atol=0)
    torch.testing.assert_close(network.levels(batch), plain.levels(batch), rtol=0, atol=0)
    program = torch.export.export(network, (batch,)).module()
    torch.testing.assert_close(program(batch), plain(batch))


def test_weights_keep_their_names_order_and_learning_rates(pair):
    rates = []
    for network in pair:
        module = CAMModule(network=network, layer_decay=0.5, optimizer=SGD)
        names = {id(weight): name for name, weight in network.named_parameters()}
        groups = module.configure_optimizers()["optimizer"].param_groups
        rates.append([(names[id(p)], g["lr"]) for g in groups for p in g["params"]])
        assert network.backbone.layers()
    assert rates[0] == rates[1]
    assert list(pair[0].state_dict()) == list(pair[1].state_dict())


def test_a_copy_drops_by_its_own_mode(pair):
    network, plain = pair
    batch = images(2, 3, 64, 64)
    twin = copy.deepcopy(network)
    network.eval()
    torch.testing.assert_close(network(batch), plain.eval()(batch), rtol=0, atol=0)
    assert not torch.equal(twin.train().features(batch), plain.train().features(batch))
    assert (twin.features(batch) == 0).all(1).flatten(1).any(1).all()
    twin.eval()
    assert network.train().training
    assert not any(layer.training for layer in twin.backbone.attention_dropouts)


def test_a_method_that_takes_the_backbone_over_sets_its_mode(pair):
    network, plain = pair
    calm = CALM(network).eval()
    batch = images(2, 3, 64, 64)
    torch.testing.assert_close(calm.backbone(batch), plain.eval().levels(batch), rtol=0, atol=0)
    network.backbone.train()
    assert all(layer.training for layer in network.backbone.attention_dropouts)


def test_compiled_it_is_the_same_network(pair):
    network, _ = pair
    torch.compiler.reset()
    batch = images(2, 3, 64, 64)
    compiled = torch.compile(network.train(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(batch), network(batch), rtol=0, atol=0)
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("config", "layers", "channels"),
    [
        ("resnet50", ["layer3.0", "layer4.0", "layer4.2"], [1024, 2048, 2048]),
        ("vgg16", ["features.16", "features.22", "features.29"], [256, 512, 512]),
        ("inception_v3", ["Mixed_5d", "Mixed_6e", "neck"], [288, 768, 1024]),
    ],
)
def test_the_layers_follow_those_of_the_benchmark(config, layers, channels):
    options = yaml.safe_load((CONFIGS / "backbone" / f"{config}.yaml").read_text())
    options["in_chans"] = 3  # which refers to the data set
    with torch.device("meta"):  # sizes alone
        backbone = MultiScaleBackbone(**{k: v for k, v in options.items() if k[0] != "_"})
        network = ADLClassifier(backbone, 2).train()
        assert default_layers(backbone) == layers
        seen = []
        for layer in backbone.attention_dropouts:
            layer.register_forward_hook(lambda _, inputs, found: seen.append(found.shape))
        network(torch.zeros(2, 3, 224, 224))
    assert seen == [(2, width, 28, 28) for width in channels]


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [
        ("resnet10t", TINY, ["layer3.0", "layer4.0"]),
        ("resnet10t", TINY | {"feature_cls": "hook"}, ["layer2", "layer3", "layer4"]),
        (
            "convnext_atto",
            {"dims": (8,) * 4, "depths": (1,) * 4},
            ["stages.1", "stages.2", "stages.3"],
        ),
        ("vgg11", {"mlp_ratio": 0.01}, ["features.14", "features.19", "features.20"]),
        ("swin_tiny_patch4_window7_224", SWIN, ["layers.1", "layers.2", "layers.3"]),
    ],
)
def test_any_network_of_maps_drops_cells_of_all_its_channels(name, options, layers):
    backbone = MultiScaleBackbone(name, **options)
    assert default_layers(backbone) == layers
    network = ADLClassifier(backbone, 2, drop_rate=1.0, gamma=0.5).train()
    batch, last = images(2, 3, 64, 64), backbone.attention_dropouts[-1]
    seen = []
    last.register_forward_hook(lambda _, inputs, found: seen.extend((inputs[0], found)))
    level = network.features(batch)
    before, after = (x.permute(0, 3, 1, 2) if last.channel_dim == -1 else x for x in seen)
    kept = drop_mask(before.mean(1, keepdim=True), 0.5)
    assert torch.equal(after, before * kept)
    assert torch.equal(level, after)


def test_layers_that_are_named_are_followed():
    network = ADLClassifier(
        MultiScaleBackbone("resnet10t", neck_channels=[6, 7], **TINY),
        2,
        drop_rate=1.0,
        layers=["layer1", "neck"],
    ).train()
    assert len(network.backbone.attention_dropouts) == 2
    assert (network.features(images(2, 3, 64, 64)) == 0).all(1).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("backbone", "options", "told"),
    [
        ({"frozen": True, **TINY}, {}, "backbone.frozen=true: leave it out, or train a head alone"),
        (TINY, {"layers": ["layr4"]}, "no layer 'layr4' that gives features; the nearest: layer4"),
        (TINY, {"layers": ["neck"]}, "no layer 'neck' that gives features"),
        (TINY, {"layers": []}, "layers must name different layers, at least one"),
        (TINY, {"layers": ["layer4", "layer4"]}, "layers must name different layers"),
        (TINY, {"gamma": 1.2}, r"gamma must lie in \[0, 1\], got 1.2"),
        (TINY, {"drop_rate": -1}, r"drop_rate must lie in \[0, 1\], got -1"),
    ],
)
def test_what_cannot_work_is_told(backbone, options, told):
    with pytest.raises(ValueError, match=told):
        ADLClassifier(MultiScaleBackbone("resnet10t", **backbone), 2, **options)


def test_networks_of_tokens_and_layers_without_maps_are_told():
    small = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 32}
    with pytest.raises(ValueError, match="'vit_tiny_patch16_224' pass tokens on: choose a convol"):
        ADLClassifier(TransformerBackbone("vit_tiny_patch16_224", **small), 2)
    network = ADLClassifier(MultiScaleBackbone("resnet10t", **TINY), 2, layers=["layer4"])
    with pytest.raises(ValueError, match=r"must have shape \(B, K, h, w\), got \(2, 5\)"):
        network.backbone.attention_dropouts[0](torch.zeros(2, 5))
