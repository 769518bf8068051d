"""TIBAV against the paper's equations, written layer by layer for one image in float64."""

import math

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from learned_saliency.attribution import TIBAV, split

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
TARGETS = torch.tensor([1, 4, 0])
TINY = {"img_size": 32, "num_classes": 5, "depth": 2, "embed_dim": 24, "num_heads": 3}


def transformer(name="vit_tiny_patch16_224", patch=8, **options):
    torch.manual_seed(0)
    network = timm.create_model(name, patch_size=patch, **TINY, **options).double().eval()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    return network


def ratio(values, by):
    return values / (by + 1e-9 * by.sign())


def linear_back(x, weight, relevance):
    """Share among all products x_j w_ji >= 0."""
    products = (x[:, None, :] * weight).clamp(min=0)  # (N, out, in)
    return (products * ratio(relevance, products.sum(2))[:, :, None]).sum(1)


def sum_back(u, v, relevance):
    """Share among two summands, and scale."""
    shares = [x * ratio(relevance, u + v) for x in (u, v)]
    sizes = [share.sum().abs() for share in shares]
    return [
        share * size / sum(sizes) * relevance.sum() / share.sum()
        for share, size in zip(shares, sizes, strict=True)
    ]


def product_back(a, b, relevance):
    """Share among two factors of a @ b, and scale."""
    by = ratio(relevance, a @ b)
    shares = [a * (by @ b.mT), b * (a.mT @ by)]
    sizes = [share.sum().abs() for share in shares]
    return [
        share * size / sum(sizes) * relevance.sum() / share.sum()
        for share, size in zip(shares, sizes, strict=True)
    ]


def heads_of(block, tokens):
    attention = block.attn
    qkv = attention.qkv(tokens).reshape(len(tokens), 3, attention.num_heads, -1)
    return qkv.permute(1, 2, 0, 3)  # (3, heads, N, D)


def block_forward(block, x, own=None):
    """The values on the way through a block; attention may be given."""
    values = {"x": x, "normed": block.norm1(x)}
    q, k, v = heads_of(block, values["normed"])
    scale = 1 / math.sqrt(q.shape[-1])
    values |= {"q": q, "k": k, "v": v}
    values["a"] = (q @ k.mT * scale).softmax(-1) if own is None else own
    values["mixed"] = (values["a"] @ v).transpose(0, 1).reshape(len(x), -1)
    values["branch"] = block.attn.proj(values["mixed"])
    values["y"] = x + values["branch"]
    values["normed2"] = block.norm2(values["y"])
    values["hidden"] = block.mlp.fc1(values["normed2"])
    values["active"] = F.gelu(values["hidden"])
    values["mlp"] = block.mlp.fc2(values["active"])
    values["z"] = values["y"] + values["mlp"]
    return values


def block_back(block, values, relevance):
    """The relevance of what a block gets, and of its attention."""
    skip, mlp = sum_back(values["y"], values["mlp"], relevance)
    mlp = linear_back(values["active"], block.mlp.fc2.weight, mlp)
    relevance = skip + linear_back(values["normed2"], block.mlp.fc1.weight, mlp)
    skip, branch = sum_back(values["x"], values["branch"], relevance)
    mixed = linear_back(values["mixed"], block.attn.proj.weight, branch)
    mixed = mixed.reshape(len(mixed), len(values["a"]), -1).transpose(0, 1)
    own, v = product_back(values["a"], values["v"], mixed)
    q, k = product_back(values["q"], values["k"].mT, own)
    qkv = torch.stack([q, k.mT, v]).permute(2, 0, 1, 3).flatten(1)
    return skip + linear_back(values["normed"], block.attn.qkv.weight, qkv), own


def by_equations(network, image, target):
    """The class token's row of the product, at the patches."""
    tokens = network._pos_embed(network.patch_embed(image[None]))[0]
    kept, leaves = [], []
    x = tokens.detach()
    for block in network.blocks:
        with torch.no_grad():
            own = block_forward(block, x)["a"]
            kept.append(block_forward(block, x))
            x = kept[-1]["z"]
        leaves.append(own.requires_grad_())
    x = tokens.detach()
    for block, leaf in zip(network.blocks, leaves, strict=True):
        q, k, _ = heads_of(block, block.norm1(x))
        computed = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        x = block_forward(block, x, leaf + computed - computed.detach())["z"]  # full derivative
    logit = network.head(network.norm(x)[0])[target]
    gradients = torch.autograd.grad(logit, leaves)
    with torch.no_grad():
        last = network.norm(kept[-1]["z"])
        relevance = torch.zeros_like(last)
        one = torch.zeros(1, 5).double()
        one[0, target] = 1
        relevance[:1] = linear_back(last[:1], network.head.weight, one)
        rolled = torch.eye(len(last)).double()
        for block, values, gradient in reversed(
            list(zip(network.blocks, kept, gradients, strict=True))
        ):
            assert abs(relevance.sum() - 1) < 1e-6  # conserved by the scaling
            relevance, own = block_back(block, values, relevance)
            rolled = rolled @ (torch.eye(len(last)) + (gradient * own).clamp(min=0).mean(0))
        return rolled[0, 1:].unflatten(0, (4, 4))


def test_map_is_that_of_the_equations():
    network = transformer()
    classifier = split(network, "blocks.1.norm1")
    found = TIBAV().raw_maps(classifier, IMAGES, TARGETS)
    for image, target, own in zip(IMAGES, TARGETS, found, strict=True):
        expected = by_equations(network, image, target)
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-6 * expected.max().item())


def test_classes_of_one_run_are_those_of_their_own():
    classifier = split(transformer(), "blocks.1.norm1")
    classes = torch.tensor([[0, 3], [1, 2], [4, 0]])
    together = TIBAV().of_classes(classifier, IMAGES, classes)
    for column in range(2):
        own = TIBAV()(classifier, IMAGES, classes[:, column])
        torch.testing.assert_close(together[:, column], own)
    predicted = classifier(IMAGES).argmax(1)
    torch.testing.assert_close(TIBAV()(classifier, IMAGES), TIBAV()(classifier, IMAGES, predicted))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}),
        ("vit_tiny_patch16_224", {"reg_tokens": 3}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_tiny_patch16_224", {"qk_norm": True, "init_values": 0.5}),
    ],
)
def test_maps_do_not_depend_on_batch_mates_whatever_the_head_reads(name, options):
    network = transformer(name, **options)
    classifier = split(network, "blocks.1.norm1")
    whole = TIBAV()(classifier, IMAGES, TARGETS)
    alone = torch.cat([TIBAV()(classifier, IMAGES[i, None], TARGETS[i, None]) for i in range(3)])
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-6)
    assert (whole.flatten(1).amax(1) == 1).all()


def test_torchvisions_transformer_has_the_map_of_timms():
    ours = transformer()
    theirs = torchvision.models.VisionTransformer(32, 8, 2, 3, 24, 96, num_classes=5)
    theirs = theirs.double().eval()
    given = ours.state_dict()
    names = {"conv_proj": "patch_embed.proj", "encoder.ln": "norm", "heads.head": "head"}
    for index in range(2):
        for one, other in {
            "ln_1": "norm1",
            "ln_2": "norm2",
            "self_attention.out_proj": "attn.proj",
            "mlp.0": "mlp.fc1",
            "mlp.3": "mlp.fc2",
        }.items():
            names[f"encoder.layers.encoder_layer_{index}.{one}"] = f"blocks.{index}.{other}"
    own = {f"{a}.{x}": given[f"{b}.{x}"] for a, b in names.items() for x in ("weight", "bias")}
    for index in range(2):
        layer = f"encoder.layers.encoder_layer_{index}.self_attention.in_proj"
        for kind in ("weight", "bias"):
            own[f"{layer}_{kind}"] = given[f"blocks.{index}.attn.qkv.{kind}"]
    own |= {"class_token": given["cls_token"], "encoder.pos_embedding": given["pos_embed"]}
    theirs.load_state_dict(own)
    found = TIBAV()(split(theirs, "encoder.layers.encoder_layer_1.ln_1"), IMAGES, TARGETS)
    expected = TIBAV()(split(ours, "blocks.1.norm1"), IMAGES, TARGETS)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_network_is_left_as_found():
    network = transformer().train()
    network.blocks[0].attn.fused_attn = False
    network.head.weight.requires_grad_(False)
    TIBAV()(split(network, "blocks.1.norm1"), IMAGES, TARGETS)
    assert all(module.training for module in network.modules())
    assert [b.attn.fused_attn for b in network.blocks] == [False, True]
    assert network.blocks[0].mlp.fc1.weight.requires_grad
    assert not network.head.weight.requires_grad
    assert all(weight.grad is None for weight in network.parameters())


def test_attention_within_windows_or_none_is_refused(tiny_cnn, images):
    with pytest.raises(ValueError, match="no attention"):
        TIBAV()(tiny_cnn("flat"), images)
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=32,
        window_size=4,
        embed_dim=12,
        depths=(1, 1),
        num_heads=(1, 1),
        num_classes=3,
    )
    with pytest.raises(ValueError, match="within windows"):
        TIBAV()(split(swin.eval(), "layers.1"), torch.rand(1, 3, 32, 32))
