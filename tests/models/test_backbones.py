import socket

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from timm.models.swin_transformer import checkpoint_filter_fn
from torch import nn

from learned_saliency.models import MultiScaleBackbone
from learned_saliency.models.striding import unstride
from tests.support.paths import CONFIGS

SMALL_VGG = {"mlp_ratio": 0.01}  # spares the random numbers of a classifier that is cut off
TINY = {"channels": [8, 8, 16, 24], "stem_width": 8}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("network touched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def images(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def configured(config, **changes):
    options = yaml.safe_load((CONFIGS / "backbone" / f"{config}.yaml").read_text())
    options |= {"in_chans": 3} | changes  # which refers to the data set
    assert options.pop("_target_") == "learned_saliency.models.MultiScaleBackbone"
    assert options.pop("_convert_") == "all"
    return MultiScaleBackbone(**options).eval()


def assert_undilated(backbone):
    assert {m.dilation for m in backbone.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet10t", {}), ("vgg11", SMALL_VGG), ("mobilenetv3_small_050", {})],
)
def test_without_options_it_is_timms_own_network(name, options):
    backbone = MultiScaleBackbone(name, **options).eval()
    peer = timm.create_model(name, features_only=True, **options).eval()
    peer.load_state_dict(backbone.network.state_dict())
    batch = images(2, 3, 64, 64)
    with torch.no_grad():
        levels, expected = backbone(batch), peer(batch)
    torch.testing.assert_close(levels, expected, rtol=0, atol=0)
    assert backbone.channels == [level.shape[1] for level in expected]
    assert backbone.reductions == [64 // level.shape[2] for level in expected]


def test_resnet18_has_maps_of_28x28_at_224():
    backbone = configured("resnet18")
    with torch.no_grad():
        levels = backbone(images(1, 3, 224, 224))
    assert [level.shape[-1] for level in levels] == [112, 56, 28, 28, 28]
    assert [level.shape[1] for level in levels] == backbone.channels == [64, 64, 128, 256, 512]
    assert backbone.reductions == [2, 4, 8, 8, 8]


def test_small_resnet_has_about_a_million_parameters_and_maps_of_a_sixteenth():
    backbone = configured("resnet10")
    with torch.no_grad():
        levels = backbone(images(1, 3, 96, 96))
    assert [level.shape[-1] for level in levels] == [48, 24, 12, 6, 6]
    assert backbone.reductions == [2, 4, 8, 16, 16]
    assert 1e6 < sum(parameter.numel() for parameter in backbone.parameters()) < 1.5e6


def test_generic_config_needs_a_name():
    assert yaml.safe_load((CONFIGS / "backbone" / "timm.yaml").read_text())["name"] == "???"
    assert configured("timm", name="resnet18").channels == [64, 64, 128, 256, 512]


@pytest.mark.parametrize(
    ("name", "options", "reductions", "size"),
    [
        ("resnet10t", TINY, [2, 4, 8, 8, 8], 16),  # shortcuts with average pools
        ("resnet26", {"channels": [8, 8, 8, 8]}, [2, 4, 8, 8, 8], 16),
        ("resnetblur18", {"channels": [8, 8, 8, 8]}, [2, 4, 8, 8, 8], 16),  # strided blurring
        ("densenet121", {"growth_rate": 4, "block_config": (1,) * 4}, [2, 4, 8, 8, 8], 16),
        ("mobilenetv3_small_050", {}, [2, 4, 8, 8, 8], 16),
        ("tf_mobilenetv3_small_minimal_100", {}, [2, 4, 8, 8, 8], 16),  # padding computed per call
        ("regnetx_002", {}, [2, 4, 8, 8, 8], 16),
        # unpadded 2x2 kernels: one cell each
        ("convnext_atto", {"dims": (8,) * 4, "depths": (1,) * 4}, [4, 8, 8, 8], 14),
    ],
)
def test_unstrided_stages_enlarge_the_last_level_without_dilation(name, options, reductions, size):
    backbone = MultiScaleBackbone(name, unstrided_stages=2, **options).eval()
    with torch.no_grad():
        levels = backbone(images(1, 3, 128, 128))
    assert levels[-1].shape[-2:] == (size, size)
    assert backbone.reductions == reductions
    assert_undilated(backbone)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tf_efficientnet_lite0", {}),
        ("mobilenetv3_small_050", {}),
        ("resnet10t", TINY),
        ("regnetx_002", {}),
        ("vgg11", SMALL_VGG),
    ],
)
@pytest.mark.parametrize("kept", [3, 4])
def test_unstrided_stages_are_counted_from_the_last_kept_level(name, options, kept):
    options = {"out_indices": range(kept), **options}
    plain = MultiScaleBackbone(name, **options).eval()
    backbone = MultiScaleBackbone(name, unstrided_stages=1, **options).eval()
    with torch.no_grad():
        levels = backbone(images(1, 3, 64, 64))
    assert backbone.reductions == [*plain.reductions[:-1], plain.reductions[-2]]
    assert [64 // level.shape[-1] for level in levels] == backbone.reductions


def test_strides_beyond_the_last_level_are_not_counted():
    class RunsTooMuch(nn.Sequential):
        def forward(self, inputs):
            levels = [inputs]
            for layer in self:
                levels.append(layer(levels[-1]))
            return levels[:-1]

    convolutions = (nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(3))
    network = RunsTooMuch(*convolutions)
    assert unstride(network, 1) == 2
    assert [layer.stride for layer in network] == [(2, 2), (1, 1), (2, 2)]


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_nothing_is_run_beyond_the_last_kept_level(name):
    """timm's extractors of these families keep all blocks and run them."""
    backbone = MultiScaleBackbone(name, out_indices=[1, 3]).eval()
    peer = timm.create_model(name, features_only=True, out_indices=[1, 3]).eval()
    peer.load_state_dict(peer.state_dict() | dict(backbone.network.state_dict()))
    batch = images(2, 3, 64, 64)
    levels = backbone(batch)
    torch.testing.assert_close(levels, peer(batch), rtol=0, atol=0)
    levels[-1].sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_pools_without_overlap_are_removed_from_vgg():
    """As in the WSOL benchmark's VGG16: the layers before and after a lost pool follow directly."""
    backbone = MultiScaleBackbone("vgg11", unstrided_stages=2, **SMALL_VGG).eval()
    batch = images(1, 3, 64, 64)
    with torch.no_grad():
        levels = backbone(batch)
        convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
        expected = levels[3]
        for convolution in convolutions[-2:]:
            expected = convolution(expected).relu()
    assert [level.shape[-1] for level in levels] == [64, 32, 16, 8, 8, 8]
    assert backbone.reductions == [1, 2, 4, 8, 8, 8]
    torch.testing.assert_close(levels[4], expected)
    torch.testing.assert_close(levels[5], expected)


def test_unstrided_stage_of_a_resnet_is_the_same_at_stride_one():
    """Every second cell of the larger map's first convolution is the strided convolution."""
    options = {"channels": [8, 8, 12, 16]}
    backbone = MultiScaleBackbone("resnet18", unstrided_stages=1, **options).eval()
    peer = timm.create_model("resnet18", features_only=True, **options).eval()
    peer.load_state_dict(backbone.network.state_dict())
    batch = images(2, 3, 64, 64)
    with torch.no_grad():
        levels, expected = backbone(batch), peer(batch)
        block, strided = backbone.network.layer4[0], peer.layer4[0]
        torch.testing.assert_close(levels[:-1], expected[:-1], rtol=0, atol=0)
        for layer in ("conv1", "downsample"):
            dense = getattr(block, layer)(levels[3])
            sparse = getattr(strided, layer)(levels[3])
            torch.testing.assert_close(dense[..., ::2, ::2], sparse)


def test_trial_runs_leave_mode_statistics_and_random_state_alone():
    torch.manual_seed(3)
    plain = MultiScaleBackbone("resnet10t", **TINY)
    expected_state = torch.get_rng_state()
    torch.manual_seed(3)
    backbone = MultiScaleBackbone("resnet10t", unstrided_stages=2, **TINY)
    torch.testing.assert_close(torch.get_rng_state(), expected_state)
    assert all(module.training for module in backbone.modules())
    torch.testing.assert_close(dict(backbone.state_dict()), dict(plain.state_dict()))


def test_neck_is_convolutions_with_relu_in_place_of_the_last_level():
    options = {"out_indices": [1, 2], **TINY}
    backbone = MultiScaleBackbone("resnet10t", neck_channels=[5, 7], **options).eval()
    plain = MultiScaleBackbone("resnet10t", **options).eval()
    plain.network.load_state_dict(backbone.network.state_dict())
    batch = images(2, 3, 48, 48)
    with torch.no_grad():
        levels, below = backbone(batch), plain(batch)
        first, second = backbone.neck[0], backbone.neck[2]
        expected = nn.functional.conv2d(below[-1], first.weight, first.bias, padding=1).clamp(min=0)
        expected = nn.functional.conv2d(expected, second.weight, second.bias, padding=1).clamp(
            min=0
        )
    torch.testing.assert_close(levels, [below[0], expected])
    assert (backbone.channels, backbone.reductions) == ([8, 7], [4, 8])

    keeping = MultiScaleBackbone("resnet10t", neck_channels=[7], keep_neck_input=True, **options)
    assert (keeping.channels, keeping.reductions) == ([8, 8, 7], [4, 8, 8])
    assert [level.shape[1] for level in keeping(batch)] == keeping.channels


@pytest.mark.parametrize("size", [(97, 83), (33, 64)])
def test_odd_sizes_and_a_batch_of_one(size):
    backbone = MultiScaleBackbone("resnet10t", unstrided_stages=1, **TINY).eval()
    with torch.no_grad():
        pair = backbone(images(2, 3, *size))
        single = backbone(images(2, 3, *size)[:1])
    for both, alone in zip(pair, single, strict=True):
        assert both.isfinite().all()
        torch.testing.assert_close(both[:1], alone)


def test_channels_last_networks_give_channels_first_levels():
    options = {"img_size": 64, "embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    backbone = MultiScaleBackbone("swin_tiny_patch4_window7_224", **options).eval()
    with torch.no_grad():
        levels = backbone(images(1, 3, 64, 64))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (8, 16, 16),
        (16, 8, 8),
        (32, 4, 4),
        (64, 2, 2),
    ]


SMALL_SWIN = {"embed_dim": 8, "depths": (1,) * 4, "num_heads": (1,) * 4}


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("swin_tiny_patch4_window7_224", SMALL_SWIN),
        ("swinv2_tiny_window8_256", SMALL_SWIN),
        ("swinv2_cr_tiny_224", SMALL_SWIN),
        ("convnext_atto", {}),
        ("maxvit_rmlp_pico_rw_256", {}),
        ("coatnet_pico_rw_224", {}),
        ("hiera_tiny_224", {"embed_dim": 8, "num_heads": 1, "stages": (1,) * 4}),
        ("pvt_v2_b0", {}),
        ("efficientvit_b0", {}),
        ("fastvit_t8", {}),
        ("tiny_vit_5m_224", {}),
    ],
)
def test_hierarchical_transformers_take_other_sizes(name, options, size):
    backbone = MultiScaleBackbone(name, img_size=size, **options)
    levels = backbone(images(2, 3, *size))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (width, size[0] // side, size[1] // side)
        for width, side in zip(backbone.channels, backbone.reductions, strict=True)
    ]
    levels[-1].square().sum().backward()
    assert all(weight.grad is not None for weight in backbone.parameters())


def test_a_size_that_a_hierarchical_transformer_cannot_take_is_refused():
    options = {"embed_dim": 8, "num_heads": 1, "stages": (1,) * 4}
    backbone = MultiScaleBackbone("hiera_tiny_224", img_size=60, **options)
    with pytest.raises(ValueError, match="60 x 60 pixels do not divide into cells of 32 x 32"):
        backbone(images(1, 3, 60, 60))


def test_a_file_of_a_swin_at_another_size_has_its_tables_resampled(tmp_path):
    """As timm does it in a whole network, window by window."""
    torch.manual_seed(1)
    whole = timm.create_model("swin_tiny_patch4_window7_224", **SMALL_SWIN).eval()
    for name, weight in whole.named_parameters():
        if "relative_position" in name:
            nn.init.normal_(weight)
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    path = str(tmp_path / "weights.safetensors")
    options = {"img_size": 64, "pretrained": path, **SMALL_SWIN}
    backbone = MultiScaleBackbone("swin_tiny_patch4_window7_224", **options).eval()
    peer = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, **SMALL_SWIN).eval()
    peer.load_state_dict(checkpoint_filter_fn(whole.state_dict(), peer))
    batch = images(2, 3, 64, 64)
    with torch.no_grad():
        expected = peer.forward_intermediates(batch, intermediates_only=True)
        torch.testing.assert_close(backbone(batch), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet5O"}, "no network 'resnet5O'. Did you mean .*resnet50"),
        ({"name": "resnet50.tv_in1"}, "no weights 'resnet50.tv_in1'. Did you mean .*tv_in1k"),
        (
            {"name": "vit_tiny_patch16_224"},
            "no multi-scale .*backbone=vit backbone.name=vit",
        ),
        ({"name": "resnet10t", "wdith": 3}, "rejects an option: .*wdith"),
        ({"name": "resnet10t", "out_indices": [1, 9]}, r"no levels \(1, 9\)"),
        ({"name": "resnet10t", "out_indices": [2, 1]}, "must increase"),
        ({"name": "resnet10t", "out_indices": [-1]}, "at least 0"),
        ({"name": "resnet10t", "unstrided_stages": -1}, "at least 0, got -1"),
        ({"name": "resnet10t", "unstrided_stages": 6}, "'resnet10t' .* only 5 stages"),
        ({"name": "levit_128s", "unstrided_stages": 1}, "'levit_128s' cannot lose strides"),
        ({"name": "resnet10t", "keep_neck_input": True}, "needs neck_channels"),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        MultiScaleBackbone(**options)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_named_with_the_remedy(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no route to the hub")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    with pytest.raises(RuntimeError, match=r"timm/resnet10t.c3_in1k.*pretrained=false") as caught:
        MultiScaleBackbone("resnet10t", pretrained=True)
    assert "no route to the hub" in str(caught.value)


def test_a_file_gives_the_maps_of_the_whole_network(tmp_path):
    torch.manual_seed(1)
    whole = timm.create_model("resnet18").eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    path = str(tmp_path / "weights.safetensors")
    backbone = MultiScaleBackbone("resnet18", pretrained=path).eval()
    batch = images(2, 3, 64, 64)
    with torch.no_grad():
        maps, expected = backbone(batch)[-1], whole.forward_features(batch)
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet10t", {}), ("vgg11", SMALL_VGG), ("mobilenetv3_small_050", {}), ("hgnetv2_b0", {})],
)
def test_a_file_gives_every_weight(name, options, suffix, tmp_path):
    torch.manual_seed(1)
    state = timm.create_model(name, **options).state_dict()
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"state_dict": state}, path)
    backbone = MultiScaleBackbone(name, pretrained=str(path), **options)
    own = backbone.network.state_dict().values()
    assert all(any(torch.equal(value, given) for given in state.values()) for value in own)


def test_a_file_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ValueError, match=r"weights.safetensors: there is no such file"):
        MultiScaleBackbone("resnet10t", pretrained=str(path))
    path.write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"weights.safetensors: truncated, or no file of weights"):
        MultiScaleBackbone("resnet10t", pretrained=str(path))
    save_file(timm.create_model("resnet10t").state_dict(), path)
    for name, options in (("resnet10t", TINY), ("resnet18", {})):
        with pytest.raises(
            ValueError, match=r"of another network: .*; the network is 'resnet1"
        ) as caught:
            MultiScaleBackbone(name, pretrained=str(path), **options)
        assert "\n" not in str(caught.value)


def test_a_file_of_weights_runs_no_code(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": nn.ReLU()}, path)
    with pytest.raises(ValueError, match=r"weights.pth: not loaded, it holds more than weights"):
        MultiScaleBackbone("resnet10t", pretrained=str(path))


def test_images_of_a_wrong_kind_are_refused():
    backbone = MultiScaleBackbone("resnet10t", **TINY)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\), got \(3, 32, 32\)"):
        backbone(images(3, 32, 32))
    with pytest.raises(TypeError, match="normalized floats, got"):
        backbone(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_widths_for_fewer_stages_than_there_are_are_named():
    with pytest.raises(ValueError, match=r"more stages than .*channels=\[8\] has values"):
        MultiScaleBackbone("resnet10t", channels=[8])
