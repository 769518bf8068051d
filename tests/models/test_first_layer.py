"""First layers adapted to images of other numbers of channels."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from learned_saliency.models import (
    MultiScaleBackbone,
    TransformerBackbone,
    adapt_first_layer,
    find_first_layer,
    with_channels,
)


def test_one_channel_answers_as_three_equal_ones_did():
    network = torchvision.models.squeezenet1_1().eval()
    gray = torch.randn(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = network(gray.expand(-1, 3, -1, -1))
        adapt_first_layer(network, 1)
        torch.testing.assert_close(network(gray), wanted)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_layers_are_adapted_as_timm_does(channels):
    torch.manual_seed(0)
    plain = timm.create_model("resnet10t", in_chans=3)
    state = plain.state_dict()
    name, layer = find_first_layer(plain)
    wanted = timm.models.adapt_input_conv(channels, layer.weight.data.clone())
    other = timm.create_model("resnet10t", in_chans=channels)
    found = with_channels({"state_dict": state}, other.state_dict(), [name])
    other.load_state_dict(found)
    torch.testing.assert_close(find_first_layer(other)[1].weight.data, wanted, rtol=0, atol=0)
    adapt_first_layer(plain, channels)
    torch.testing.assert_close(find_first_layer(plain)[1].weight.data, wanted, rtol=0, atol=0)


def test_what_takes_no_colors_is_left_alone():
    network = nn.Sequential(nn.Conv2d(2, 4, 3))
    adapt_first_layer(network, 2)
    with pytest.raises(ValueError, match="first convolution 0 takes 2 channels, neither colors"):
        adapt_first_layer(network, 4)
    with pytest.raises(ValueError, match="no convolution"):
        find_first_layer(nn.Linear(3, 4))
    state = network.state_dict()
    assert with_channels(state, state, ["0"]) is state


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        (MultiScaleBackbone, "resnet10t", {"unstrided_stages": 1}),
        (MultiScaleBackbone, "vgg11", {"out_indices": [0, 1]}),
        (TransformerBackbone, "vit_tiny_patch16_224", {"img_size": 32}),
    ],
)
def test_backbones_take_other_channels(kind, name, options, tmp_path):
    torch.manual_seed(0)
    colors = kind(name, **options)
    path = tmp_path / "weights.pt"
    torch.save({k: v.clone() for k, v in colors.network.state_dict().items()}, path)
    gray = kind(name, pretrained=str(path), in_chans=1, **options).eval()
    images = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        wanted = colors.eval()(images.expand(-1, 3, -1, -1))
        for found, level in zip(gray(images), wanted, strict=True):
            torch.testing.assert_close(found, level, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="in_chans must be at least 1"):
        kind(name, in_chans=0, **options)
