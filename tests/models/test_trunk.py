"""Backbones that are trained in part or not at all, and the order of their layers."""

import copy

import pytest
import torch
from torch import nn

from learned_saliency.models import MultiScaleBackbone, TransformerBackbone

TINY_VIT = {"embed_dim": 24, "depth": 3, "num_heads": 2, "img_size": 32}
TINY_RESNET = {"channels": [8, 8, 8, 16], "stem_width": 8}


def vit(**options):
    return TransformerBackbone("vit_tiny_patch16_224", **TINY_VIT, **options)


def resnet(**options):
    return MultiScaleBackbone("resnet10t", **TINY_RESNET, **options)


def trained(backbone):
    return {name for name, weight in backbone.network.named_parameters() if weight.requires_grad}


def images(seed=0):
    return torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", [vit, resnet])
def test_a_frozen_backbone_has_no_gradient_no_graph_and_evaluation_mode(make):
    backbone = make(frozen=True).train()
    assert not any(module.training for module in backbone.modules())
    assert trained(backbone) == set()
    before = copy.deepcopy(backbone.state_dict())
    levels = backbone(images())
    assert all(level.grad_fn is None for level in levels)
    torch.testing.assert_close(dict(backbone.state_dict()), dict(before), rtol=0, atol=0)


def test_images_that_need_a_gradient_get_one_from_a_frozen_backbone():
    """CASM's mask objective is differentiated by the masked images."""
    batch = images().requires_grad_()
    vit(frozen=True)(batch)[-1].sum().backward()
    assert batch.grad.abs().sum() > 0


def test_the_last_blocks_alone_are_trained():
    backbone = vit(trainable="blocks:2").train()
    starts = {".".join(name.split(".")[:2]) for name in trained(backbone)}
    assert starts == {"blocks.1", "blocks.2", "norm.weight", "norm.bias"}
    assert [block.training for block in backbone.network.blocks] == [False, True, True]
    backbone(images())[-1].sum().backward()
    assert all(
        (weight.grad is not None) == weight.requires_grad for weight in backbone.parameters()
    )


def test_the_last_stage_alone_is_trained_and_batch_statistics_below_it_rest():
    backbone = resnet(trainable="stages:1").train()
    assert {name.partition(".")[0] for name in trained(backbone)} == {"layer4"}
    before = copy.deepcopy(backbone.state_dict())
    backbone(images())
    changed = {key for key, value in backbone.state_dict().items() if not value.equal(before[key])}
    assert changed
    assert {key.split(".")[1] for key in changed} == {"layer4"}


@pytest.mark.parametrize(
    ("name", "options", "stage"),
    [
        ("swin_tiny_patch4_window7_224", {"embed_dim": 8, "depths": (1,) * 4}, "layers_3"),
        ("convnext_atto", {"dims": (8,) * 4, "depths": (1,) * 4}, "stages_3"),
        ("mobilenetv3_small_050", {}, "blocks.5"),
        ("densenet121", {"growth_rate": 4, "block_config": (1,) * 4}, "features_denseblock4"),
    ],
)
def test_stages_are_those_of_each_family(name, options, stage):
    backbone = MultiScaleBackbone(name, img_size=32, trainable="stages:1", **options)
    in_stage = {key for key in trained(backbone) if key.startswith(stage)}
    assert in_stage
    assert {key.rpartition(".")[0] for key in trained(backbone) - in_stage} <= {"features_norm5"}


def test_a_wrapped_layer_keeps_its_place():
    """Blocks of Inception-v3 are wrapped where they lose their stride."""
    options = {"unstrided_stages": 1, "out_indices": [0, 1, 2, 3], "same_padding": True}
    backbone = MultiScaleBackbone("inception_v3", trainable="blocks:1", **options)
    layers = {name: layer for name, _, layer in backbone.layers()}
    assert (
        layers["Mixed_6a.block.branch3x3.conv.weight"] + 1
        == layers["Mixed_6b.branch1x1.conv.weight"]
    )
    assert {name.partition(".")[0] for name in trained(backbone)} == {"Mixed_6e"}


def test_layers_of_a_transformer_are_the_stem_and_its_blocks():
    numbers = {}
    for name, _, layer in vit().layers():
        numbers.setdefault(layer, set()).add(".".join(name.split(".")[:2]))
    assert numbers == {
        0: {"cls_token", "pos_embed", "patch_embed.proj"},
        1: {"blocks.0"},
        2: {"blocks.1"},
        3: {"blocks.2", "norm.weight", "norm.bias"},
    }


def test_asking_for_layers_leaves_the_random_state_alone():
    backbone = MultiScaleBackbone("convnext_atto", dims=(8,) * 4, depths=(1,) * 4)
    before = torch.get_rng_state()
    assert backbone.layers()
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_an_unordered_network_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="timm does not say how the layers of 'poolformer_s12'"):
        MultiScaleBackbone("poolformer_s12", trainable="stages:1")


def test_frozen_leaves_nothing_for_a_neck():
    with pytest.raises(ValueError, match="neck_channels"):
        resnet(frozen=True, neck_channels=[8])


def test_a_copy_trains_what_its_original_trains():
    copied = copy.deepcopy(vit(trainable="blocks:1")).train()
    assert {name.split(".")[1] for name in trained(copied) if "blocks" in name} == {"2"}
    assert [block.training for block in copied.network.blocks] == [False, False, True]
    assert isinstance(copied.network.norm, nn.LayerNorm)
    assert copied.network.norm.training
