"""Input that networks from outside declare."""

import pytest
import timm
import torch
from torch import nn

from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.runs import OwnInput, given_network, own_input

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_torchvision_s_weights_declare_size_and_colors():
    found = own_input("torchvision:inception_v3", nn.Identity())
    assert found[:4] == (299, 342, *IMAGENET)
    assert len(found.class_names) == 1000


@pytest.mark.parametrize(
    ("name", "sizes", "colors"),
    [
        ("tf_efficientnet_lite0", (224, 256), ([0.5] * 3, [0.5] * 3)),
        ("resnet18", (224, 235), IMAGENET),
    ],
)
def test_timm_s_networks_declare_size_and_colors(name, sizes, colors):
    with torch.device("meta"):
        network = timm.create_model(name)
    found = own_input(f"timm:{name}", network)
    assert found[:4] == (*sizes, *colors)
    assert found.class_names[0] == "tench"


def test_a_network_of_one_s_own_may_declare_its_input():
    network = nn.Identity()
    assert own_input("mine:network", network) == OwnInput()
    network.image_size = 112
    assert own_input("mine:network", network) == OwnInput(112, 128)
    network.default_cfg = {"input_size": (3, 96, 96), "mean": (0, 0, 0), "crop_pct": 0.75}
    assert own_input("mine:network", network) == OwnInput(96, 128, [0, 0, 0])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("os:getcwd", "code of your own"),
        ("timm:hf-hub:somebody/network", "timm has no such network"),
        ("timm:local-dir:/tmp", "timm has no such network"),
        ("torchvision:nothing", "torchvision has no such network"),
    ],
)
def test_a_file_cannot_have_anything_built_but_a_library_s_network(word, told):
    with pytest.raises(UserError, match=told):
        given_network(classifier=word, num_classes=2, outputs=None, levels={})
