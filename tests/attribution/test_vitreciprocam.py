"""ViT-ReciproCAM against a run of the network's rest per patch."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from learned_saliency.attribution import ViTReciproCAM, split

IMAGES = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([1, 4])


def made_random(network):
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network.eval()


def of_timm(name="vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    sizes = {"img_size": (32, 48), "depth": 2, "embed_dim": 48, "num_heads": 3}
    return made_random(timm.create_model(name, patch_size=8, num_classes=5, **{**sizes, **options}))


@torch.no_grad()
def by_patch(network, layer, images, gaussian, tracing=None):
    """The logits of the rest of the network after a layer whose patches are masked one by one."""
    features, head = split(network, layer, tracing=tracing).encode(images)
    height, width = features.shape[2:]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    logits = []
    for row in range(height):
        for column in range(width):
            apart = (rows - row).abs(), (columns - column).abs()
            if gaussian:
                mask = 0.25 * 0.5 ** apart[0] * 0.5 ** apart[1] * ((apart[0] < 2) & (apart[1] < 2))
            else:
                mask = ((apart[0] == 0) & (apart[1] == 0)).float()
            logits.append(head(features * mask))
    chosen = torch.stack(logits)[:, torch.arange(len(images)), TARGETS]
    return chosen.T.unflatten(1, (height, width))


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"qk_norm": True, "init_values": 0.5, "reg_tokens": 2}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
        ("vit_small_patch16_dinov3", {}),
    ],
)
def test_map_is_the_score_of_each_patch_alone(name, options, gaussian):
    network = of_timm(name, **options)
    tracing = False if "dinov3" in name else None
    expected = by_patch(network, "blocks.1.norm1", IMAGES, gaussian, tracing)
    method = ViTReciproCAM(gaussian=gaussian)
    found = method.raw_maps(split(network, "blocks.1.norm1"), IMAGES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert expected.flatten(1).std(dim=1).min() > 2e-4 * expected.abs().max()


def test_another_block_and_torchvisions_network():
    network = of_timm()
    expected = by_patch(network, "blocks.0.norm1", IMAGES, True)
    method = ViTReciproCAM(block=-2, batch_size=5)
    found = method.raw_maps(split(network, "blocks.1.norm1"), IMAGES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    network = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    network, layer = made_random(network), "encoder.layers.encoder_layer_1.ln_1"
    images = IMAGES[..., :32]
    expected = by_patch(network, layer, images, True)
    found = ViTReciproCAM().raw_maps(split(network, layer), images, TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_classes_of_one_run_are_those_of_their_own_and_of_one_image():
    classifier = split(of_timm(), "blocks.1.norm1")
    classes = torch.tensor([[0, 3], [1, 2]])
    method = ViTReciproCAM(target="probability", batch_size=7)
    together = method.of_classes(classifier, IMAGES, classes)
    for column in range(2):
        for i in range(2):
            own = method(classifier, IMAGES[i, None], classes[i, column, None])
            torch.testing.assert_close(together[i, None, column], own, rtol=0, atol=1e-4)
    predicted = classifier(IMAGES).argmax(1)
    torch.testing.assert_close(method(classifier, IMAGES), method(classifier, IMAGES, predicted))


def test_the_last_block_runs_on_all_tokens_up_to_its_attention_alone():
    network = of_timm()
    classifier, rows = split(network, "blocks.1.norm1"), []
    network.blocks[-1].mlp.register_forward_pre_hook(lambda module, x: rows.append(x[0].shape))
    ViTReciproCAM()(classifier, IMAGES, TARGETS)
    assert rows == [(2, 1, 48)] + 2 * [(24, 1, 48)]


def test_half_precision_gives_nearly_the_same_map():
    classifier = split(of_timm(), "blocks.1.norm1")
    expected = ViTReciproCAM()(classifier, IMAGES, TARGETS)
    with torch.autocast("cpu", torch.bfloat16):
        found = ViTReciproCAM()(classifier, IMAGES, TARGETS)
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.05


def test_a_network_is_left_as_found():
    network = of_timm().train()
    network.blocks[1].attn.fused_attn = False
    ViTReciproCAM()(split(network, "blocks.1.norm1"), IMAGES, TARGETS)
    assert all(module.training for module in network.modules())
    assert [block.attn.fused_attn for block in network.blocks] == [True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_bad_options_and_other_networks_are_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match="block must be negative"):
        ViTReciproCAM(block=3)
    with pytest.raises(ValueError, match="batch_size"):
        ViTReciproCAM(batch_size=0)
    with pytest.raises(ValueError, match="2 blocks, none is -3"):
        ViTReciproCAM(block=-3)(split(of_timm(), "blocks.1.norm1"), IMAGES)
    with pytest.raises(ValueError, match="not TinyCNN"):
        ViTReciproCAM()(tiny_cnn("flat"), images)
