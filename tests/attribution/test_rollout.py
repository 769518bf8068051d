"""Attention maps against timm's own unfused attention."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from learned_saliency.attribution import RawAttention, Rollout, normalize, resize, split

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=64, num_classes=7, depth=3, embed_dim=24
    ).eval()


def unfused_attention(network, images):
    """Each block's attention, (B, heads, N, N), as timm computes it without the fused kernel."""
    kept, handles = [], []
    for block in network.blocks:
        block.attn.fused_attn = False
        handles.append(
            block.attn.attn_drop.register_forward_hook(lambda m, i, output: kept.append(output))
        )
    with torch.no_grad():
        network(images)
    for block, handle in zip(network.blocks, handles, strict=True):
        block.attn.fused_attn = True
        handle.remove()
    return kept


def as_maps(rows):
    return normalize(resize(rows[:, 0, 1:].unflatten(1, (4, 4)), (64, 64)))


def test_raw_attention_is_the_class_tokens_row_of_the_last_block(vit):
    expected = as_maps(unfused_attention(vit, IMAGES)[-1].mean(1))
    classifier = split(vit, "blocks.2.norm1")
    torch.testing.assert_close(RawAttention()(classifier, IMAGES), expected, rtol=0, atol=1e-4)


def test_rollout_is_the_product_of_mixed_attentions(vit):
    first, second, third = ((a.mean(1) + torch.eye(17)) / 2 for a in unfused_attention(vit, IMAGES))
    expected = as_maps(third @ second @ first)
    classifier = split(vit, "blocks.2.norm1")
    torch.testing.assert_close(Rollout()(classifier, IMAGES), expected, rtol=0, atol=1e-4)


def test_attention_leaves_no_hook(vit):
    Rollout()(split(vit, "blocks.2.norm1"), IMAGES)
    assert not any(module._forward_hooks for module in vit.modules())


def test_networks_without_attention_are_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match="no attention"):
        Rollout()(tiny_cnn("flat"), images)


def test_attention_is_seen_without_the_fused_kernel_and_in_torchvision(vit):
    classifier = split(vit, "blocks.2.norm1")
    expected = Rollout()(classifier, IMAGES)
    for block in vit.blocks:
        block.attn.fused_attn = False
    torch.testing.assert_close(Rollout()(classifier, IMAGES), expected)
    assert not any(block.attn.fused_attn for block in vit.blocks)
    network = torchvision.models.VisionTransformer(64, 16, 2, 3, 24, 32).eval()
    kept = []
    for layer in network.encoder.layers:
        layer.self_attention.register_forward_hook(
            lambda module, given, output: kept.append(
                nn.MultiheadAttention.forward(module, *given, average_attn_weights=False)[1]
            )
        )
    with torch.no_grad():
        network(IMAGES)
    expected = as_maps(kept[-1].mean(1))
    for layer in network.encoder.layers:
        layer.self_attention._forward_hooks.clear()
    found = RawAttention()(split(network, "encoder.layers.encoder_layer_1.ln_1"), IMAGES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
