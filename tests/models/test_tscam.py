"""TS-CAM: attention against full matrices of timm's plain code, and convolutions in loops."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from learned_saliency.models import FCAM, TSCAM, MultiScaleBackbone, TransformerBackbone
from learned_saliency.models.class_attention import class_attention

TINY = {"embed_dim": 24, "depth": 3, "num_heads": 2}
DISTILLED = "deit_tiny_distilled_patch16_224"
B, C = 2, 4


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tscam(name=DISTILLED, **options):
    """TS-CAM whose weights and positions are as large as after a training."""
    torch.manual_seed(3)
    network = TSCAM(TransformerBackbone(name, img_size=64, **TINY, **options), C)
    for name, weight in network.named_parameters():
        if "embed" in name or "token" in name or "qkv" in name or name.startswith("fc"):
            nn.init.normal_(weight, std=0.5)
    return network.eval()


def full_attention(network, batch):
    """Rows of the class token in timm's own matrices, (B, N), by its code without a kernel."""
    peer = copy.deepcopy(network)
    matrices = []
    for block in peer.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *call: matrices.append(call[1][0]))
    with torch.no_grad():
        peer.forward_features(batch)
    total = 0
    for matrix in matrices:
        for head in range(matrix.shape[1]):
            total = total + matrix[:, head, 0, network.num_prefix_tokens :] / matrix.shape[1]
    return total


@pytest.mark.parametrize(
    ("name", "size", "cells"),
    [
        (DISTILLED, (64, 64), (4, 4)),
        ("vit_tiny_patch16_224", (64, 96), (4, 6)),
        ("vit_small_patch14_reg4_dinov2", (56, 84), (4, 6)),
        ("deit3_small_patch16_224", (64, 64), (4, 4)),
        ("vit_base_patch16_clip_224", (64, 64), (4, 4)),
    ],
)
@pytest.mark.parametrize("fused", [True, False])
def test_the_attention_is_the_class_tokens_in_every_block(name, size, cells, fused):
    torch.manual_seed(3)
    side = size[0]
    plain = TransformerBackbone(name, img_size=side, out_indices=[0, 2], **TINY).eval()
    for key, weight in plain.named_parameters():
        if "embed" in key or "token" in key or "qkv" in key:
            nn.init.normal_(weight, std=0.5)
    for block in plain.network.blocks:
        block.attn.fused_attn = fused
    batch = images(B, 3, *size)
    with torch.no_grad():
        expected = plain(batch)
        plain.append_class_attention()
        plain.append_class_attention()  # once is enough
        *finer, last = plain(batch)
    torch.testing.assert_close([*finer, last[:, :-1]], expected, rtol=0, atol=0)
    assert plain.channels == [24, 25]
    assert last.shape == (B, 25, *cells)
    attention = full_attention(plain.network, batch)
    torch.testing.assert_close(last[:, -1].flatten(1), attention, rtol=1e-4, atol=1e-6)
    assert attention.std() > 0.01  # it is not even


def test_logits_and_maps_are_the_papers_in_loops():
    network = tscam().double()
    batch = images(B, 3, 64, 64).double()
    features = network.features(batch).detach()
    weight, bias = network.fc.weight, network.fc.bias
    semantic = torch.zeros(B, C, 4, 4, dtype=torch.float64)
    for label in range(C):
        for y in range(4):
            for x in range(4):
                semantic[:, label, y, x] = bias[label].detach()
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= y + dy < 4 and 0 <= x + dx < 4:
                            kernel = weight[label, :, dy + 1, dx + 1].detach()
                            semantic[:, label, y, x] += features[:, :-1, y + dy, x + dx] @ kernel
    torch.testing.assert_close(network(batch), semantic.sum((2, 3)) / 16)
    attention = full_attention(network.backbone.network, batch).view(B, 1, 4, 4)
    torch.testing.assert_close(network.cams(features), semantic * attention)
    labels = torch.tensor([3, 1])
    chosen = network.cams(features, labels)
    torch.testing.assert_close(chosen, network.cams(features)[range(B), labels])
    torch.testing.assert_close(network.cams(features[1:], labels[1:]), chosen[1:])


def test_gradients_of_the_head_are_those_of_autograd():
    network = tscam().double()
    leaf = images(B, 25, 3, 5).double().requires_grad_()
    targets = torch.tensor([3, 1])
    (expected,) = torch.autograd.grad(network.head(leaf)[range(B), targets].sum(), leaf)
    torch.testing.assert_close(network.head_gradients(leaf.detach(), targets), expected)
    assert not expected[:, -1].any()
    assert torch.autograd.gradcheck(network.head, leaf)
    assert torch.autograd.gradcheck(lambda maps: network.cams(maps, targets), leaf)


def test_every_weight_is_trained_by_the_logits_and_none_by_the_attention():
    network = tscam().train()
    features = network.features(images(B, 3, 64, 64))
    network.head(features).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    network.zero_grad()
    features = network.features(images(B, 3, 64, 64))
    features[:, -1].sum().backward()
    assert not any(w.grad is not None and w.grad.any() for w in network.parameters())


def test_a_pass_leaves_no_hooks_also_after_an_error():
    network = tscam()
    inner = network.backbone.network

    def hooks():
        return sum(len(module._forward_hooks) for module in inner.modules())

    def failing():
        with class_attention(inner):
            assert hooks() == 6
            raise ZeroDivisionError

    before = network(images(B, 3, 64, 64))
    assert hooks() == 0
    with pytest.raises(ZeroDivisionError):
        failing()
    assert hooks() == 0
    for twin in (copy.deepcopy(network), tscam()):
        twin.load_state_dict(pickle.loads(pickle.dumps(network.state_dict())))
        torch.testing.assert_close(twin(images(B, 3, 64, 64)), before, rtol=0, atol=0)


def test_maps_are_wide_under_autocast_and_know_no_batch_mates():
    network = tscam()
    batch = images(3, 3, 64, 64)
    with torch.no_grad():
        expected = network.cams(network.features(batch))
        single = network.cams(network.features(batch[1:2]))
        with torch.autocast("cpu", torch.bfloat16):
            features = network.features(batch)
            logits, maps = network.head(features), network.cams(features)
    torch.testing.assert_close(single, expected[1:2], rtol=1e-4, atol=1e-5)
    assert logits.dtype == maps.dtype == torch.float32
    assert (maps - expected).abs().max() < 0.1 * expected.abs().max()


def test_f_cams_decoder_works_on_it():
    output = FCAM(tscam(), widths=(8, 8, 4, 4)).train()(images(B, 3, 64, 64))
    assert output.features.shape == (B, 25, 4, 4)
    assert output.scores.shape == (B, 2, 64, 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base_patch16_siglip_224", "siglip_224' has no class token"),
        ("vit_small_patch16_dinov3", r"another kind \(EvaAttention\) than DeiT's"),
        ("beit_base_patch16_224", r"another kind \(Attention\) than DeiT's"),
        ("vit_relpos_small_patch16_224", "has no class token"),
    ],
)
def test_other_transformers_are_refused(name, message):
    backbone = TransformerBackbone(name, img_size=64, **TINY)
    with pytest.raises(ValueError, match=message):
        TSCAM(backbone, C)


def test_a_convolutional_network_is_refused():
    backbone = MultiScaleBackbone("resnet10t", channels=[8, 8, 8, 8], stem_width=8)
    with pytest.raises(ValueError, match="choose a vision transformer, backbone=vit"):
        TSCAM(backbone, C)


@pytest.mark.parametrize(
    ("features", "labels", "error", "message"),
    [
        ((B, 24, 4, 4), None, ValueError, r"\(B, 25, h, w\), got \(2, 24, 4, 4\)"),
        ((B, 25, 4, 4), torch.zeros(3, dtype=torch.long), ValueError, r"\(2,\), got \(3,\)"),
        ((B, 25, 4, 4), torch.zeros(B), TypeError, "integers, got torch.float32"),
        ((B, 25, 4, 4), torch.tensor([0, C]), RuntimeError, "out of bounds"),
    ],
)
def test_wrong_shapes_and_classes_are_refused(features, labels, error, message):
    with pytest.raises(error, match=message):
        tscam().cams(torch.zeros(features), labels)


def test_the_weights_are_timms(tmp_path):
    """A file of timm's network fits, the attention is no weight."""
    peer = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0, **TINY)
    torch.save(peer.state_dict(), tmp_path / "weights.pt")
    path = str(tmp_path / "weights.pt")
    backbone = TransformerBackbone("vit_tiny_patch16_224", path, img_size=64, **TINY)
    network = TSCAM(backbone, C)
    assert set(network.backbone.network.state_dict()) == set(peer.state_dict())
    assert "has_class_attention" in repr(network.backbone)
