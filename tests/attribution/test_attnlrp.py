"""AttnLRP against the paper's rules, written with explicit relevance for one image in float64."""

import math

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import AttnLRP, split

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
TARGETS = torch.tensor([1, 4, 0])
TINY = {"img_size": 32, "num_classes": 5, "depth": 2, "embed_dim": 24, "num_heads": 3}


def transformer(**options):
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", patch_size=8, **TINY, **options)
    network = network.double().eval()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network


def layer_back(x, weight, bias, relevance, gamma):
    """The gamma rule by all products x_j w_ji, (N, out, in)."""
    products = x[:, None, :] * weight
    bias = bias.expand(len(x), -1)
    sign = (products.sum(2) + bias).sign()
    products = products + gamma * products * (products.sign() == sign[:, :, None])
    bias = bias + gamma * bias * (bias.sign() == sign)
    return (products / (products.sum(2) + bias)[:, :, None] * relevance[:, :, None]).sum(1)


def product_back(a, b, relevance):
    """The uniform rule of a @ b."""
    by = relevance / (a @ b) / 2
    return a * (by @ b.mT), b * (a.mT @ by)


def norm_back(norm, x, relevance):
    """The epsilon rule of (x - mean(x)) * w / std + b, which is linear in x."""
    centering = torch.eye(x.shape[1]).double() - 1 / x.shape[1]
    std = (x.var(1, correction=0, keepdim=True) + norm.eps).sqrt()
    weights = centering * norm.weight[:, None] / std[:, :, None]  # (N, out, in)
    products = x[:, None, :] * weights
    return (products / (products.sum(2) + norm.bias)[:, :, None] * relevance[:, :, None]).sum(1)


def block_back(block, x, relevance, gamma, through):
    """The relevance of what a block gets; the given one is of what it gives."""

    def back(layer, given, handed):
        return layer_back(given, layer.weight, layer.bias, handed, gamma)

    attention = block.attn
    normed = block.norm1(x)
    qkv = attention.qkv(normed).reshape(len(x), 3, attention.num_heads, -1)
    q, k, v = qkv.permute(1, 2, 0, 3)
    products = q @ k.mT / math.sqrt(q.shape[-1])
    own = products.softmax(-1)
    mixed = (own @ v).transpose(0, 1).reshape(len(x), -1)
    branch = attention.proj(mixed)
    y = x + branch
    normed2 = block.norm2(y)
    hidden = block.mlp.fc1(normed2)
    active = F.gelu(hidden)
    mlp = block.mlp.fc2(active)
    # back
    relevance = relevance / (y + mlp)
    handed = back(block.mlp.fc1, normed2, back(block.mlp.fc2, active, relevance * mlp))
    relevance = relevance * y + norm_back(block.norm2, y, handed)
    relevance = relevance / y
    handed = back(attention.proj, mixed, relevance * branch)
    handed = handed.reshape(len(x), attention.num_heads, -1).transpose(0, 1)
    if through:
        of_own, of_v = product_back(own, v, handed)
        of_products = products * (of_own - own * of_own.sum(-1, keepdim=True))
        of_q, of_k = product_back(q, k.mT, of_products)
        of_k = of_k.mT
    else:
        of_q, of_k = torch.zeros_like(q), torch.zeros_like(k)
        of_v = v * (own.mT @ (handed / (own @ v)))
    packed = torch.stack([of_q, of_k, of_v]).permute(2, 0, 1, 3).flatten(1)
    return relevance * x + norm_back(block.norm1, x, back(attention.qkv, normed, packed))


@torch.no_grad()
def by_rules(network, image, target, gamma, conv_gamma, through):
    """Relevance of the pixels, summed over colors."""
    patches = network.patch_embed(image[None])
    inputs = [network._pos_embed(patches)[0]]
    for block in network.blocks:
        inputs.append(block(inputs[-1][None])[0])
    last = network.norm(inputs[-1])
    one = torch.zeros(1, 5).double()
    one[0, target] = network.head(last[:1])[0, target]
    relevance = torch.zeros_like(last)
    relevance[:1] = layer_back(last[:1], network.head.weight, network.head.bias, one, gamma)
    relevance = norm_back(network.norm, inputs[-1], relevance)
    for block, x in reversed(list(zip(network.blocks, inputs, strict=False))):
        relevance = block_back(block, x, relevance, gamma, through)
    relevance = (relevance / inputs[0])[1:] * patches[0]
    unfolded = F.unfold(image[None], 8, stride=8)[0].T  # (patches, 3 * 8 * 8)
    layer = network.patch_embed.proj
    relevance = layer_back(unfolded, layer.weight.flatten(1), layer.bias, relevance, conv_gamma)
    return F.fold(relevance.T[None], 32, 8, stride=8)[0].sum(0)


@pytest.mark.parametrize("gammas", [(0.0, 0.0), (0.1, 0.25)])
@pytest.mark.parametrize("through", [True, False])
def test_map_is_that_of_the_rules(gammas, through):
    network = transformer()
    method = AttnLRP(linear_gamma=gammas[0], conv_gamma=gammas[1], through_softmax=through)
    found = method.raw_maps(split(network, "blocks.1.norm1"), IMAGES, TARGETS)
    for image, target, own in zip(IMAGES, TARGETS, found, strict=True):
        expected = by_rules(network, image, target, *gammas, through)
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_relevance_sums_to_the_logit_where_nothing_takes_it_up(gamma):
    """Without biases and positions, and with constant attention, none is lost on the way."""
    network = transformer(global_pool="avg", class_token=False)
    for name, weight in network.named_parameters():
        if name.endswith("bias") or name == "pos_embed":
            nn.init.zeros_(weight)
    method = AttnLRP(linear_gamma=gamma, conv_gamma=gamma, through_softmax=False)
    classifier = split(network, "blocks.1.norm1")
    total = method.raw_maps(classifier, IMAGES, TARGETS).sum((1, 2))
    torch.testing.assert_close(total, classifier(IMAGES).gather(1, TARGETS[:, None])[:, 0].detach())


def test_classes_of_one_run_are_those_of_their_own_and_of_one_image():
    classifier = split(transformer(), "blocks.1.norm1")
    classes = torch.tensor([[0, 3], [1, 2], [4, 0]])
    together = AttnLRP().of_classes(classifier, IMAGES, classes)
    for column in range(2):
        for i in range(3):
            own = AttnLRP()(classifier, IMAGES[i, None], classes[i, column, None])
            torch.testing.assert_close(together[i, None, column], own)


def test_swin_is_explained_whoever_wrote_it():
    torch.manual_seed(0)
    options = {"img_size": 32, "window_size": 4, "embed_dim": 12, "num_classes": 5}
    ours = timm.create_model(
        "swin_tiny_patch4_window7_224", depths=(1, 1), num_heads=(1, 1), **options
    )
    theirs = torchvision.models.SwinTransformer(
        [4, 4], 12, [1, 1], [1, 1], [4, 4], stochastic_depth_prob=0, num_classes=5
    )
    for network, layer in ((ours, "layers.1"), (theirs, "features")):
        classifier = split(network.double().eval(), layer)
        plain = AttnLRP(linear_gamma=0, conv_gamma=0).raw_maps(classifier, IMAGES, TARGETS)
        images = IMAGES.clone().requires_grad_()
        logits = classifier(images).gather(1, TARGETS[:, None]).sum()
        (gradient,) = torch.autograd.grad(logits, images)
        ordinary = (IMAGES * gradient).sum(1)
        assert plain.shape == (3, 32, 32)
        assert (plain - ordinary).abs().max() > 0.01 * ordinary.abs().max()


def test_a_network_is_left_as_found_also_in_half_precision():
    network = transformer().train().bfloat16()
    with torch.no_grad():
        maps = AttnLRP()(split(network, "blocks.1.norm1"), IMAGES.bfloat16(), TARGETS)
    assert maps.dtype == torch.float32
    assert all(module.training for module in network.modules())
    assert all(w.requires_grad and w.grad is None for w in network.parameters())


def test_bad_options_and_networks_without_attention_are_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match="at least 0"):
        AttnLRP(linear_gamma=-1)
    with pytest.raises(ValueError, match="no attention"):
        AttnLRP()(tiny_cnn("flat"), images)
