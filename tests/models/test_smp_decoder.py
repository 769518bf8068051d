"""Decoders of segmentation-models-pytorch between levels of any sizes and two full maps."""

import copy
import sys

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from learned_saliency.models import (
    DECODERS,
    FCAM,
    CAMClassifier,
    MissingDecodersError,
    MultiScaleBackbone,
    SMPDecoder,
)
from tests.support.paths import CONFIGS

smp = pytest.importorskip("segmentation_models_pytorch")

WIDTHS = (32, 16, 8, 8, 8)
CHANNELS, REDUCTIONS = [4, 8, 8, 12, 12], [2, 4, 8, 8, 8]  # stages without stride
# The library's networks, and those levels of their encoders that their decoders read.
LIBRARY = {
    "unet": (smp.Unet, {}, [1, 2, 3, 4, 5]),
    "unetplusplus": (smp.UnetPlusPlus, {}, [1, 2, 3, 4, 5]),
    "manet": (smp.MAnet, {}, [1, 2, 3, 4, 5]),
    "linknet": (smp.Linknet, {}, [1, 2, 3, 4, 5]),
    "fpn": (smp.FPN, {}, [1, 2, 3, 4, 5]),
    "pspnet": (smp.PSPNet, {}, [1, 2, 3]),
    "deeplabv3": (smp.DeepLabV3, {}, [5]),
    "deeplabv3plus": (smp.DeepLabV3Plus, {}, [1, 2, 3, 5]),
    "pan": (smp.PAN, {"encoder_output_stride": 32}, [1, 2, 3, 4, 5]),
    "upernet": (smp.UPerNet, {}, [1, 2, 3, 4, 5]),
    "segformer": (smp.Segformer, {}, [1, 2, 3, 4, 5]),
}


def maps(channels, sizes, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, width, *size, generator=generator)
        for width, size in zip(channels, sizes, strict=True)
    ]


def levels_of(height, width, batch=2, channels=CHANNELS, reductions=REDUCTIONS):
    """Levels as a padded network has them at any size."""
    sizes = [(-(-height // r), -(-width // r)) for r in reductions]
    return maps(channels, sizes, batch)


@pytest.fixture(params=DECODERS)
def decoder(request):
    torch.manual_seed(0)
    return SMPDecoder(f"smp:{request.param}", CHANNELS, REDUCTIONS, WIDTHS)


def read_maps(decoder, levels, size=(64, 64)):
    """Catch the maps that the library's decoder is given."""
    seen = []
    handle = decoder.network.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0]))
    decoder(levels, size)
    handle.remove()
    return seen


def test_the_configuration_offers_all_of_them():
    rows = yaml.safe_load((CONFIGS / "values" / "model.yaml").read_text())
    assert rows["model.decoder"]["choices"] == [f"smp:{name}" for name in DECODERS]
    assert set(LIBRARY) == set(DECODERS)


@pytest.mark.parametrize("name", LIBRARY)
def test_it_is_the_librarys_network_between_the_same_levels(name):
    make, options, kept = LIBRARY[name]
    torch.manual_seed(0)
    theirs = make("resnet18", encoder_weights=None, classes=2, **options).eval()
    side = 256 if name == "pan" else 64  # which needs more cells
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        features = theirs.encoder(images)
        expected = theirs.segmentation_head[0](theirs.decoder([*features]))
        levels = [features[i] for i in kept]
        channels = [level.shape[1] for level in levels]
        reductions = [side // level.shape[-1] for level in levels]
        ours = SMPDecoder(f"smp:{name}", channels, reductions, (256, 128, 64, 32, 16)).eval()
        ours.network.load_state_dict(theirs.decoder.state_dict())  # all widths are the library's
        ours.scores.load_state_dict(theirs.segmentation_head[0].state_dict())
        found = ours(levels, (side, side))
    expected = functional.interpolate(expected, (side, side), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (97, 83)])
def test_scores_are_as_big_as_the_image_and_reach_every_weight(decoder, size):
    levels = levels_of(*size, batch=1) if min(size) > 64 else levels_of(*size)
    scores = decoder.train()(levels, size)  # also one image's, pooled to one cell
    assert scores.shape == (len(levels[0]), 2, *size)
    scores.square().mean().backward()
    for name, weight in decoder.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


def test_one_images_scores_do_not_depend_on_its_batch_mates(decoder):
    levels = levels_of(64, 64, batch=3)
    decoder.eval()
    with torch.no_grad():
        alone = decoder([level[1:2] for level in levels], (64, 64))
        torch.testing.assert_close(decoder(levels, (64, 64))[1:2], alone, rtol=1e-4, atol=1e-5)


def test_levels_of_one_scale_are_joined_and_keep_their_cells():
    decoder = SMPDecoder("smp:unet", CHANNELS, REDUCTIONS, WIDTHS)
    levels = levels_of(64, 64)
    image, half, quarter, eighth = read_maps(decoder, levels)
    assert decoder.scales == 3
    assert image.shape == (2, 0, 64, 64)
    assert half is levels[0]
    assert quarter is levels[1]
    torch.testing.assert_close(eighth, torch.cat(levels[2:], 1), rtol=0, atol=0)


def test_odd_sizes_follow_the_coarsest_level_by_nearest_neighbor():
    decoder = SMPDecoder("smp:linknet", [4, 8, 12], [2, 4, 8], WIDTHS)
    levels = maps([4, 8, 12], [(49, 42), (25, 21), (13, 11)])
    image, half, quarter, eighth = read_maps(decoder, levels, (97, 83))
    assert eighth is levels[2]
    assert image.shape[-2:] == (104, 88)
    rows = (torch.arange(26) * 25) // 26
    columns = (torch.arange(22) * 21) // 22
    torch.testing.assert_close(quarter, levels[1][:, :, rows][..., columns], rtol=0, atol=0)
    assert half.shape == (2, 4, 52, 44)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("unet", [0, 0, 8, 0, 12]),
        ("unetplusplus", [0, 0, 8, 12, 12]),
        ("segformer", [0, 0, 8, 12, 12]),
    ],
)
def test_scales_without_a_level(name, channels):
    decoder = SMPDecoder(f"smp:{name}", [8, 12], [4, 16], WIDTHS)
    levels = maps([8, 12], [(16, 12), (4, 3)])
    found = read_maps(decoder, levels)
    assert [maps.shape[1] for maps in found] == channels
    assert [maps.shape[-2:] for maps in found] == [(4 << s, 3 << s) for s in (4, 3, 2, 1, 0)]
    if channels[3]:
        twice = levels[1].repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(found[3], twice, rtol=0, atol=0)


def test_coarser_scales_are_means_and_too_coarse_ones_are_enlarged():
    levels = levels_of(64, 64)
    found = read_maps(SMPDecoder("smp:fpn", CHANNELS, REDUCTIONS, WIDTHS), levels)
    assert [maps.shape[-1] for maps in found] == [64, 32, 16, 8, 4, 2]
    joined = torch.cat(levels[2:], 1)
    blocks = joined.unflatten(2, (4, 2)).unflatten(4, (4, 2))
    torch.testing.assert_close(found[4], blocks.mean(dim=(3, 5)))
    levels = maps([8, 12, 16], [(16, 16), (4, 4), (2, 2)])
    decoder = SMPDecoder("smp:deeplabv3plus", [8, 12, 16], [4, 16, 32], WIDTHS)
    found = read_maps(decoder, levels)
    twice = levels[2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(found[-1], torch.cat([levels[1], twice], 1), rtol=0, atol=0)


def test_patches_of_14_pixels_keep_their_cells():
    levels = maps([4, 8, 12, 12], [(8, 8), (4, 4), (2, 2), (2, 2)])
    found = read_maps(SMPDecoder("smp:unet", [4, 8, 12, 12], [3.5, 7, 14, 14], WIDTHS), levels)
    assert [maps.shape[1] for maps in found] == [0, 0, 4, 8, 24]
    assert found[2] is levels[0]


def test_a_level_as_big_as_the_image_is_not_read():
    levels = maps([4, 8, 12], [(32, 32), (16, 16), (8, 8)])
    found = read_maps(SMPDecoder("smp:unet", [4, 8, 12], [1, 2, 4], WIDTHS), levels, (32, 32))
    assert [maps.shape[1] for maps in found] == [0, 8, 12]
    with pytest.raises(ValueError, match="levels of half the image or less"):
        SMPDecoder("smp:unet", [4], [1], WIDTHS)


def test_widths_are_the_first_of_those_given():
    def made(name, widths, **options):
        return SMPDecoder(f"smp:{name}", CHANNELS, REDUCTIONS, widths, options)

    blocks = made("unet", (64, 32, 16, 8, 8)).network.blocks
    assert [block.conv1[0].out_channels for block in blocks] == [64, 32, 16]
    assert [b.conv1[0].out_channels for b in made("unet", (9, 7)).network.blocks] == [9, 7, 7]
    own = made("unet", WIDTHS, decoder_channels=[6, 5, 4]).network.blocks
    assert [block.conv1[0].out_channels for block in own] == [6, 5, 4]
    halved = {
        name: made(name, (128,)).scores.in_channels for name in DECODERS if name[:4] != "unet"
    }
    assert halved == {
        "manet": 128,
        "linknet": 16,
        "fpn": 64,
        "pspnet": 256,
        "deeplabv3": 128,
        "deeplabv3plus": 128,
        "pan": 16,
        "upernet": 128,
        "segformer": 128,
    }
    assert made("fpn", (64,), merge_policy="cat").scores.in_channels == 4 * 32


def test_a_single_value_per_channel_is_normalized_by_the_running_statistics():
    torch.manual_seed(0)
    decoder = SMPDecoder("smp:deeplabv3", [8], [8], WIDTHS, {"aspp_dropout": 0.0}).train()
    norm = decoder.network.aspp.convs[-1][2]  # behind the mean over all cells
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(1, 2)
    before = copy.deepcopy(norm.state_dict())
    seen = []
    norm.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    decoder(maps([8], [(4, 4)], batch=1), (32, 32))
    ((inputs, output),) = seen
    expected = (inputs - norm.running_mean[:, None, None]) / (
        norm.running_var[:, None, None] + norm.eps
    ).sqrt()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(norm.state_dict(), before)
    decoder(maps([8], [(4, 4)], batch=2), (32, 32))
    torch.testing.assert_close(
        seen[1][1], functional.batch_norm(seen[1][0], None, None, training=True)
    )
    assert not torch.equal(norm.running_mean, before["running_mean"])


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("smp:unet++", {}, r"no decoder 'smp:unet\+\+' \(nearest: smp:unet\), but smp:NAME with"),
        ("smp:dpt", {}, "no decoder 'smp:dpt'"),  # which reads a library network's tokens
        ("unet", {}, "no decoder 'unet'"),
        (
            "smp:unet",
            {"atention_type": "scse"},
            r"no option 'atention_type' \(nearest: attention_t",
        ),
        ("smp:unet", {"n_blocks": 3}, "no option 'n_blocks'"),
        ("smp:unet", {"decoder_channels": [8, 8]}, "smp:unet: Model depth is 3, but you provide"),
        ("smp:unet", {"attention_type": "scse"}, "no channel is left for blocks"),
        ("smp:fpn", {"segmentation_channels": 20}, "smp:fpn: num_channels .* must be divisible"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(name, options, told):
    with pytest.raises(ValueError, match=told):
        SMPDecoder(name, CHANNELS, REDUCTIONS, WIDTHS, options)


def test_levels_that_do_not_fit_are_refused():
    decoder = SMPDecoder("smp:pan", CHANNELS, REDUCTIONS, WIDTHS)
    with pytest.raises(ValueError, match=r"smp:pan needs 8 cells .* got 4 x 8"):
        decoder(levels_of(32, 64), (32, 64))
    with pytest.raises(ValueError, match=r"expected levels of \[4, 8, 8, 12, 12\] channels"):
        decoder(levels_of(64, 64)[1:], (64, 64))
    with pytest.raises(ValueError, match="a quarter of the coarsest level's channels: 10 have"):
        SMPDecoder("smp:pspnet", [8, 10], [4, 8], WIDTHS)


def test_without_the_package_one_sentence_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == smp.__name__]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDecodersError, match=r"'learned-saliency\[decoders\]'\.$"):
        SMPDecoder("smp:unet", CHANNELS, REDUCTIONS, WIDTHS)


@pytest.fixture(name="model")
def make_model():
    torch.manual_seed(5)
    backbone = MultiScaleBackbone(
        "resnet10t", unstrided_stages=1, channels=[8, 8, 16, 24], stem_width=8
    )
    return FCAM(CAMClassifier(backbone, num_classes=4), WIDTHS, decoder="smp:unetplusplus")


def test_fcam_trains_the_decoder_alone_on_the_levels_of_one_pass(model):
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = copy.deepcopy(model.state_dict())
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(batch).scores.square().mean().backward()
    optimizer.step()
    for name, value in model.state_dict().items():
        if name.startswith("classifier."):  # parameters and batch statistics
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(weight.grad is not None for weight in model.decoder.parameters())
    model.eval()
    expected = model.decoder(model.classifier.levels(batch), (64, 64))
    torch.testing.assert_close(model(batch).scores, expected)


def test_options_without_a_librarys_decoder_are_refused(model):
    with pytest.raises(ValueError, match="those of a library's decoder"):
        FCAM(model.classifier, decoder_options={"decoder_channels": [8]})


@pytest.mark.parametrize("name", ["unet", "fpn", "pspnet", "deeplabv3plus"])
def test_the_decoder_is_copied_and_exported(name):
    decoder = SMPDecoder(f"smp:{name}", CHANNELS, REDUCTIONS, WIDTHS)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.decoder = copy.deepcopy(decoder)

        def forward(self, levels):
            return self.decoder(levels, (64, 64))

    model = Whole().eval()
    levels = levels_of(64, 64)
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        model, (levels,), dynamic_shapes={"levels": [{0: batch}] * len(levels)}
    ).module()
    again = levels_of(64, 64, batch=5)
    torch.testing.assert_close(program(again), model(again))
