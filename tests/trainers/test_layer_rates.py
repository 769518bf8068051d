"""Learning rates of layers, against a table worked out by hand."""

import pytest
import torch
from torch.nn import functional

from learned_saliency.losses import CALMLoss
from learned_saliency.models import CALM, CAMClassifier, MultiScaleBackbone, TransformerBackbone
from learned_saliency.trainers import CALMModule, CAMModule
from tests.support.networks import SGD

TINY = {"embed_dim": 24, "depth": 3, "num_heads": 2, "img_size": 32}
RATES = {  # SGD at 0.1, decay 0.5, new layers 10 times as fast
    "patch_embed": 0.0125,
    "pos_embed": 0.0125,
    "cls_token": 0.0125,
    "blocks.0": 0.025,
    "blocks.1": 0.05,
    "blocks.2": 0.1,
    "norm": 0.1,
}


def vit(**options):
    return TransformerBackbone("vit_tiny_patch16_224", **TINY, **options)


def module(method, backbone, **options):
    options = {"optimizer": SGD, "head_lr_factor": 10.0, **options}
    classifier = CAMClassifier(backbone, num_classes=3)
    if method == "cam":
        return CAMModule(network=classifier, **options)
    return CALMModule(network=CALM(classifier), loss=CALMLoss("em"), **options)


def rates(built):
    """Learning rate of every trained parameter by its name in the network."""
    names = {id(weight): name for name, weight in built.network.named_parameters()}
    groups = built.configure_optimizers()["optimizer"].param_groups
    assert all(group["params"] for group in groups)
    return {names[id(weight)]: group["lr"] for group in groups for weight in group["params"]}


def expected(name):
    inner = name.removeprefix("backbone.network.")
    if inner == name:
        return 1.0
    return next(rate for start, rate in RATES.items() if inner.startswith(start))


@pytest.mark.parametrize("method", ["cam", "calm"])
def test_each_block_learns_half_as_fast_as_the_next(method):
    built = module(method, vit(), layer_decay=0.5)
    found = rates(built)
    assert found == {name: pytest.approx(expected(name)) for name in found}
    assert set(found) == {name for name, _ in built.network.named_parameters()}


def test_blocks_of_stages_are_counted_through():
    options = {"dims": (8,) * 4, "depths": (1, 1, 2, 1)}
    backbone = MultiScaleBackbone("convnext_atto", **options)
    found = rates(module("cam", backbone, layer_decay=0.5))
    shown = {
        "stem_0.weight": 0.1 / 2**5,
        "stages_0.blocks.0.norm.weight": 0.1 / 2**4,
        "stages_1.blocks.0.norm.weight": 0.1 / 2**3,
        "stages_2.downsample.1.weight": 0.1 / 2**2,
        "stages_2.blocks.0.norm.weight": 0.1 / 2**2,
        "stages_2.blocks.1.norm.weight": 0.1 / 2,
        "stages_3.blocks.0.norm.weight": 0.1,
    }
    found = {name: found[f"backbone.network.{name}"] for name in shown}
    assert found == {name: pytest.approx(rate) for name, rate in shown.items()}


def test_slow_layers_choose_what_decays():
    found = rates(module("calm", vit(), layer_decay=0.5, slow_layers=["blocks.0", "blocks.2"]))
    decayed = {name: expected(name) for name in found if "blocks.0" in name or "blocks.2" in name}
    assert found == {name: pytest.approx(decayed.get(name, 1.0)) for name in found}


@pytest.mark.parametrize("method", ["cam", "calm"])
@pytest.mark.parametrize("decay", [None, 0.5])
def test_a_frozen_backbone_is_in_no_group(method, decay):
    built = module(method, vit(frozen=True), layer_decay=decay)
    found = rates(built)
    assert set(found.values()) == {1.0}
    assert not any("backbone" in name for name in found)


def test_what_is_trained_alone_is_in_the_groups():
    built = module("cam", vit(trainable="blocks:2"), layer_decay=0.5)
    found = rates(built)
    assert found == {name: pytest.approx(expected(name)) for name in found}
    inside = {name.removeprefix("backbone.network.")[:8] for name in found if "backbone" in name}
    assert inside == {"blocks.1", "blocks.2", "norm.wei", "norm.bia"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"train/lr": 0.1, "train/lr_head": 1.0}),
        (
            {"layer_decay": 0.5},
            {"train/lr": 0.1, "train/lr_slowest": 0.0125, "train/lr_head": 1.0},
        ),
        ({"layer_decay": 1.0}, {"train/lr": 0.1, "train/lr_slowest": 0.1, "train/lr_head": 1.0}),
    ],
)
def test_three_rates_at_most_are_logged(options, expected):
    built = module("cam", vit(), **options)
    optimizer = built.configure_optimizers()["optimizer"]
    logged = {}
    built.log = lambda name, value, **_: logged.update({name: value})
    built.log_learning_rates(optimizer)
    assert logged == {name: pytest.approx(rate) for name, rate in expected.items()}


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.5])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match="layer_decay must be above 0"):
        module("cam", vit(), layer_decay=decay)


def test_the_moving_average_of_a_partly_trained_calm_rests_where_its_network_does():
    built = module("calm", vit(trainable="blocks:1"), em_target="ema").train()
    for network in (built.network, built.target_network):
        assert [block.training for block in network.backbone.network.blocks] == [False, False, True]
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    functional.nll_loss(built.network(images), torch.tensor([0, 1])).backward()
    built.configure_optimizers()["optimizer"].step()
    built.update_average()
    pairs = zip(built.target_network.named_parameters(), built.network.parameters(), strict=True)
    moved = {name for (name, average), current in pairs if not torch.equal(average, current)}
    assert moved
    assert all("blocks.2" in name or "branch" in name or ".norm." in name for name in moved)
