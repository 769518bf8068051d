import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from learned_saliency.models import TransformerBackbone

TINY = {"embed_dim": 24, "depth": 3, "num_heads": 2}
PLAIN = "vit_tiny_patch16_224"
REGISTERS = "vit_small_patch14_reg4_dinov2"


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_positions(network):
    """Give positions the size that they have after a training; timm begins with tiny ones."""
    for name in ("pos_embed", "cls_token", "reg_token"):
        if (weight := getattr(network, name, None)) is not None:
            nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
    return network


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("size", [(224, 224), (280, 280), (56, 84)])
def test_levels_are_timms_own_intermediates_without_registers(size, frozen):
    backbone = TransformerBackbone(REGISTERS, frozen=frozen, out_indices=[0, 2], **TINY).eval()
    random_positions(backbone.network)
    peer = timm.create_model(REGISTERS, dynamic_img_size=True, num_classes=0, **TINY).eval()
    peer.load_state_dict(backbone.network.state_dict())
    batch = images(1, 3, *size)
    with torch.no_grad():
        levels = backbone(batch)
        expected = peer.forward_intermediates(
            batch, indices=[0, 2], norm=True, intermediates_only=True
        )
        tokens = peer.forward_features(batch)[:, peer.num_prefix_tokens :]
    torch.testing.assert_close(levels, expected, rtol=0, atol=1e-6)
    grid = (size[0] // 14, size[1] // 14)
    last = tokens.transpose(1, 2).unflatten(2, grid)
    torch.testing.assert_close(levels[-1], last, rtol=0, atol=1e-6)
    assert (backbone.channels, backbone.reductions) == ([24, 24], [14, 14])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (PLAIN, TINY),
        ("deit_tiny_distilled_patch16_224", TINY),
        ("deit3_small_patch16_224", TINY),
        (REGISTERS, TINY),
        ("vit_small_patch16_dinov3", TINY),
        ("eva02_tiny_patch14_224", TINY),
        ("vit_base_patch16_clip_224", TINY),
        ("vit_base_patch16_siglip_224", TINY),
        ("beit_base_patch16_224", TINY),
        ("vit_relpos_small_patch16_224", TINY),
        ("xcit_nano_12_p16_224", TINY),
        ("samvit_base_patch16", {**TINY, "depth": 12}),
    ],
)
def test_families_give_a_cell_per_patch_at_other_sizes_and_train_every_weight(name, options):
    backbone = TransformerBackbone(name, img_size=(112, 224), **options)
    levels = backbone(images(2, 3, 112, 224))
    patch = backbone.reductions[-1]
    assert [tuple(level.shape[1:]) for level in levels] == [
        (width, 112 // patch, 224 // patch) for width in backbone.channels
    ]
    sum(level.square().sum() for level in levels).backward()
    assert all(weight.grad is not None for weight in backbone.parameters())


@pytest.mark.parametrize(
    ("depth", "expected"), [(1, [0]), (2, [0, 1]), (5, [0, 1, 3, 4]), (12, [2, 5, 8, 11])]
)
def test_four_evenly_spaced_blocks_are_the_levels(depth, expected):
    assert TransformerBackbone(PLAIN, **{**TINY, "depth": depth}).indices == expected


def test_blocks_after_the_last_level_are_dropped():
    backbone = TransformerBackbone(PLAIN, out_indices=[1], **TINY).eval()
    peer = timm.create_model(PLAIN, num_classes=0, **TINY).eval()
    peer.load_state_dict(peer.state_dict() | backbone.network.state_dict())
    batch = images(1, 3, 224, 224)
    assert len(backbone.network.blocks) == 2
    expected = peer.forward_intermediates(batch, indices=[1], norm=True, intermediates_only=True)
    torch.testing.assert_close(backbone(batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(100, 96), (96, 100)])
def test_sizes_that_do_not_divide_by_the_patch_are_refused(size):
    backbone = TransformerBackbone("xcit_nano_12_p16_224", img_size=96, **TINY)
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]} pixels do not divide into .* 16"):
        backbone(images(1, 3, *size))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vit_tinny_patch16_224"}, "Did you mean .*vit_tiny_patch16_224"),
        ({"name": "resnet10t"}, "several sizes: it is a case for backbone=timm backbone.name=res"),
        ({"out_indices": [0, 3]}, r"blocks 0 to 2, got out_indices=\[0, 3\]"),
        ({"out_indices": [1, 0]}, "must increase"),
        ({"wdith": 3}, "rejects an option: .*wdith"),
        ({"frozen": True, "trainable": "blocks:1"}, "exclude each other"),
        ({"trainable": "blocks:4"}, "trainable=blocks:4: backbone 'vit_tiny.* has 3 blocks"),
        ({"trainable": "last"}, "must be blocks:N or stages:N"),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        TransformerBackbone(**{"name": PLAIN, **(TINY if "name" not in options else {}), **options})
    assert "\n" not in str(caught.value)


def test_a_file_written_at_another_size_has_its_positions_resampled(tmp_path):
    """As timm itself resamples them."""
    torch.manual_seed(1)
    whole = random_positions(timm.create_model(PLAIN, img_size=96, **TINY)).eval()
    save_file(whole.state_dict(), tmp_path / "vit.safetensors")
    path = str(tmp_path / "vit.safetensors")
    backbone = TransformerBackbone(PLAIN, pretrained=path, img_size=(64, 128), **TINY).eval()
    whole.set_input_size((64, 128))
    batch = images(1, 3, 64, 128)
    with torch.no_grad():
        expected = whole.forward_features(batch)[:, 1:].transpose(1, 2).unflatten(2, (4, 8))
        torch.testing.assert_close(backbone(batch)[-1], expected, rtol=0, atol=1e-5)


def test_names_in_the_authors_files_are_known(tmp_path):
    """As DINOv2's: register tokens by another name, and a position of the class token."""
    torch.manual_seed(1)
    state = random_positions(timm.create_model(REGISTERS, img_size=56, **TINY)).state_dict()
    first = torch.randn(1, 1, 24)
    given = {key: value for key, value in state.items() if key not in ("reg_token", "pos_embed")}
    given |= {"register_tokens": state["reg_token"], "mask_token": torch.zeros(1, 24)}
    given |= {"pos_embed": torch.cat([first, state["pos_embed"]], 1)}
    torch.save(given, tmp_path / "dinov2.pth")
    options = {"pretrained": str(tmp_path / "dinov2.pth"), "img_size": 56, **TINY}
    found = TransformerBackbone(REGISTERS, **options).network.state_dict()
    expected = state | {"cls_token": state["cls_token"] + first[:, :1]}
    torch.testing.assert_close(dict(found), dict(expected))


def test_a_file_of_another_network_is_named(tmp_path):
    whole = timm.create_model(PLAIN, **{**TINY, "embed_dim": 32})
    save_file(whole.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(ValueError, match=r"vit.safetensors: of another network") as caught:
        TransformerBackbone(PLAIN, pretrained=str(tmp_path / "vit.safetensors"), **TINY)
    assert "\n" not in str(caught.value)
