"""LeGrad against torchcam 0.5, and against derivatives of the whole blocks."""

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchcam.methods import LeGrad as PublishedLeGrad

from learned_saliency.attribution import LeGrad, split
from learned_saliency.attribution.core.attention import AttentionMode

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([1, 4, 0])


def of_timm(name="vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    network = timm.create_model(
        name,
        patch_size=8,
        img_size=32,
        num_classes=5,
        depth=3,
        embed_dim=48,
        num_heads=3,
        **options,
    )
    return made_random(network)


def of_torchvision():
    torch.manual_seed(0)
    return made_random(torchvision.models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=5))


def made_random(network):
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network.eval()


def by_whole_blocks(network, blocks, finish, prefix):
    """Attention as a part of one graph of the whole network; a block's score by its own."""
    outputs, attentions = [], []

    def attend(attention):
        weights = attention.weights()
        attentions.append(weights if weights.requires_grad else weights.requires_grad_())
        return attention.applied(weights)

    handles = [
        block.register_forward_hook(lambda m, i, output: outputs.append(output)) for block in blocks
    ]
    with AttentionMode(attend):
        network(IMAGES)
    for handle in handles:
        handle.remove()
    total = 0
    for tokens, weights in zip(outputs, attentions[-len(outputs) :], strict=True):
        score = finish(tokens).gather(1, TARGETS[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, weights, retain_graph=True)
        total = total + gradient.clamp(min=0).mean(dim=(1, 2))[:, prefix:] / len(blocks)
    return total.unflatten(1, (4, 4))


def test_mean_of_tokens_is_torchcams():
    network = of_torchvision()
    with PublishedLeGrad(network, list(network.encoder.layers)) as published:
        expected = published(TARGETS.tolist(), network(IMAGES), normalized=False)[0]
    method = LeGrad(pool="mean")
    found = method.raw_maps(split(network, "encoder.layers.encoder_layer_2.ln_1"), IMAGES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.max().item())


@pytest.mark.parametrize(
    ("name", "options", "prefix"),
    [
        ("vit_tiny_patch16_224", {}, 1),
        ("vit_tiny_patch16_224", {"qk_norm": True, "init_values": 0.5, "reg_tokens": 2}, 3),
        ("deit_tiny_distilled_patch16_224", {}, 2),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}, 0),
        ("vit_base_patch16_siglip_224", {}, 0),
        ("vit_small_patch16_dinov3", {}, 5),
    ],
)
def test_map_is_that_of_the_blocks_derivatives(name, options, prefix):
    network = of_timm(name, **options).requires_grad_(False)
    expected = by_whole_blocks(
        network, network.blocks, lambda x: network.forward_head(network.norm(x)), prefix
    )
    found = LeGrad().raw_maps(split(network, "blocks.2.norm1"), IMAGES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.max().item())


def test_last_blocks_alone_and_torchvisions_network():
    network = of_torchvision().requires_grad_(False)
    expected = by_whole_blocks(
        network,
        network.encoder.layers[1:],
        lambda x: network.heads(network.encoder.ln(x)[:, 0]),
        1,
    )
    classifier = split(network, "encoder.layers.encoder_layer_2.ln_1")
    found = LeGrad(last_blocks=2).raw_maps(classifier, IMAGES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.max().item())


@pytest.mark.parametrize(("pool", "normalization"), [("head", "range"), ("mean", "max")])
def test_classes_of_one_run_are_those_of_their_own_and_of_one_image(pool, normalization):
    classifier = split(of_timm(), "blocks.2.norm1")
    classes = torch.tensor([[0, 3], [1, 2], [4, 0]])
    method = LeGrad(pool=pool, target="probability", normalization=normalization)
    together = method.of_classes(classifier, IMAGES, classes)
    for column in range(2):
        for i in range(3):
            own = method(classifier, IMAGES[i, None], classes[i, column, None])
            torch.testing.assert_close(together[i, None, column], own, rtol=0, atol=1e-4)


def test_one_pass_of_the_network_and_none_of_a_block_on_all_tokens_after_it():
    network = of_timm()
    classifier, sizes = split(network, "blocks.2.norm1"), []
    for block in network.blocks:
        block.register_forward_pre_hook(lambda module, args: sizes.append(args[0].shape[1]))
    LeGrad()(classifier, IMAGES, TARGETS)
    assert sorted(sizes) == [1] * 3 + [17] * 3


def test_the_score_may_be_a_function_of_the_output():
    network = of_timm()
    plain = LeGrad()(split(network, "blocks.2.norm1"), IMAGES, TARGETS)
    other = split(network, "blocks.2.norm1", outputs=lambda output: -output.flip(1))
    found = LeGrad()(other, IMAGES, 4 - TARGETS)
    assert (found - plain).abs().max() > 0.1  # minus the logit of the same class
    back = split(network, "blocks.2.norm1", outputs=lambda output: output.flip(1))
    torch.testing.assert_close(LeGrad()(back, IMAGES, 4 - TARGETS), plain)


def test_a_network_is_left_as_found_also_after_an_error():
    network = of_timm().train()
    classifier = split(network, "blocks.2.norm1")
    LeGrad()(classifier, IMAGES, TARGETS)
    with pytest.raises(ValueError, match="targets"):
        LeGrad(pool="mean")(classifier, IMAGES, TARGETS + 10)
    assert all(module.training for module in network.modules())
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in network.modules()]
    assert not any(hooks)
    assert all(w.requires_grad and w.grad is None for w in network.parameters())


def test_bad_options_and_other_networks_are_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match="last_blocks"):
        LeGrad(last_blocks=0)
    with pytest.raises(ValueError, match="pool must be one of"):
        LeGrad(pool="token")
    with pytest.raises(ValueError, match="not TinyCNN"):
        LeGrad()(tiny_cnn("flat"), images)
    swin = torchvision.models.SwinTransformer([4, 4], 12, [1, 1], [1, 1], [4, 4])
    with pytest.raises(ValueError, match="not SwinTransformer"):
        LeGrad()(split(swin.eval(), "features"), IMAGES)
