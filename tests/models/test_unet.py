import pytest
import torch
from torch import nn
from torch.nn import functional

from learned_saliency.models import UNetDecoder

# Tab. F.2: channels of the encoder's levels, and of the decoder's layers.
RESNET50 = ((64, 256, 512, 1024, 2048), (256, 128, 64, 32, 16))
INCEPTION = ((64, 80, 288, 768, 1024), (256, 128, 64, 32, 16))
VGG16 = ((128, 256, 1024), (256, 128, 64))


def maps(channels, sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(2, width, *size, generator=generator)
        for width, size in zip(channels, sizes, strict=True)
    ]


@pytest.mark.parametrize(
    ("table", "center", "millions"),
    [(RESNET50, False, 9.0), (INCEPTION, False, 5.7), (VGG16, True, 23.1)],
)
def test_widths_and_parameters_are_those_of_the_paper(table, center, millions):
    encoder_channels, widths = table
    with torch.device("meta"):
        decoder = UNetDecoder(encoder_channels, widths, center)
    assert [layer[0].out_channels for layer in decoder.layers] == list(widths)
    assert [layer[3].in_channels for layer in decoder.layers] == list(widths)
    skips = [*reversed(encoder_channels[:-1]), *[0] * (len(widths) - len(encoder_channels) + 1)]
    below = [encoder_channels[-1], *widths[:-1]]
    assert [layer[0].in_channels for layer in decoder.layers] == [
        channels + skip for channels, skip in zip(below, skips, strict=True)
    ]
    assert decoder.scores.out_channels == 2
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    assert round(parameters / 1e6, 1) == millions  # #PDEC of Tab. F.4


def test_decoding_written_out():
    decoder = UNetDecoder((3, 4, 5), (6, 4, 3)).eval()
    fine, middle, coarse = levels = maps((3, 4, 5), [(6, 5), (3, 3), (3, 3)])
    x = decoder.layers[0](torch.cat([coarse, middle], 1))  # equal sizes: nothing to enlarge
    x = functional.interpolate(x, size=(6, 5), mode="nearest")
    x = decoder.layers[1](torch.cat([x, fine], 1))
    x = functional.interpolate(x, size=(11, 9), mode="nearest")
    expected = decoder.scores(decoder.layers[2](x))
    torch.testing.assert_close(decoder(levels, (11, 9)), expected)


def test_layers_are_convolution_batchnorm_relu_twice():
    decoder = UNetDecoder((3, 5), (4,))
    kinds = [type(module) for module in decoder.layers[0]]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 2
    assert decoder.layers[0][0].bias is None


@pytest.mark.parametrize("extra", [0, 1, 2, 3])
def test_layers_beyond_the_finest_level_double_up_to_the_image(extra):
    decoder = UNetDecoder((3, 5), (4,) * (1 + extra)).eval()
    seen = []
    for layer in decoder.layers:
        layer.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[-2:])))
    scores = decoder(maps((3, 5), [(5, 4), (3, 2)]), (33, 31))
    assert scores.shape == (2, 2, 33, 31)
    doubled = [(5, 4), (10, 8), (20, 16)][: max(extra, 1)]
    assert seen == [*doubled, (33, 31)] if extra else seen == doubled


def test_every_skip_connection_reaches_the_scores():
    decoder = UNetDecoder((3, 4, 5), (4, 4, 3)).eval()
    levels = [level.requires_grad_() for level in maps((3, 4, 5), [(8, 8), (4, 4), (2, 2)])]
    decoder(levels, (16, 16)).square().sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)


def test_center_is_applied_to_the_coarsest_level():
    decoder = UNetDecoder((3, 5), (4,), center=True).eval()
    fine, coarse = maps((3, 5), [(4, 4), (2, 2)])
    without = UNetDecoder((3, 5), (4,)).eval()
    without.layers.load_state_dict(decoder.layers.state_dict())
    without.scores.load_state_dict(decoder.scores.state_dict())
    expected = without([fine, decoder.center(coarse)], (4, 4))
    torch.testing.assert_close(decoder([fine, coarse], (4, 4)), expected)


@pytest.mark.parametrize(
    ("channels", "widths", "message"),
    [
        ((3, 4, 5), (6,), "3 encoder levels need at least 2 decoder widths"),
        ((), (6,), "positive"),
        ((3, 4), (), "positive"),
        ((3, 4), (6, 0), "positive"),
    ],
)
def test_mismatched_widths_are_refused(channels, widths, message):
    with pytest.raises(ValueError, match=message):
        UNetDecoder(channels, widths)


def test_levels_of_another_encoder_are_refused():
    with pytest.raises(ValueError, match=r"\[3, 5\] channels, got \[3, 4\]"):
        UNetDecoder((3, 5), (4,))(maps((3, 4), [(4, 4), (2, 2)]), (8, 8))
