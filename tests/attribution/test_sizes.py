"""Every post-hoc method on images that are no squares: a transposed image has a transposed map."""

import copy

import pytest
import timm
import torch
from torch import nn

from learned_saliency.attribution import split
from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.runs.methods import build_method

HEIGHT, WIDTH, PATCH = 40, 56, 8
CHEAP = {  # options with which a method takes milliseconds
    "smoothgradcampp": {"samples": 2},
    "refinecam": {"finer": 1},
    "sscam": {"samples": 2},
    "iscam": {"steps": 2},
    "shapcam": {"orderings": 2},
    "limecam": {"samples": 30},
    "kernelshapcam": {"samples": 40},
    "deepshapcam": {"samples": 2},
    "iba": {"steps": 2},
    "opticam": {"iterations": 3},
    "rise": {"masks": 8, "cells": 3},
    "occlusion": {"window": 16, "stride": 8},
    "meaningful": {"iterations": 2},
    "extremal": {"iterations": 3},
    "integratedgradients": {"steps": 3},
    "smoothgrad": {"samples": 2},
    "vargrad": {"samples": 2},
}
# what they draw has the layout of an image, so that other numbers fall on a transposed one; and
# extremal mirrors images left to right, and takes the last of equal pixels
IN_ORDER = {
    *("smoothgradcampp", "sscam", "deepshapcam", "iba", "rise", "meaningful"),
    *("smoothgrad", "vargrad", "extremal"),
}
ROUNDED = {"rankmean": 0.01}  # pixels of almost one value change their ranks
TRANSFORMERS = {"rawattention", "rollout", "tibav", "legrad", "vitreciprocam", "attnlrp"}
ELSEWHERE = {"amortized", "camsuperset"}  # which need a run's network, or its data set
CONFIG = compose_checked(
    ["methods=[cam]"]
    + [f"++attribution.{n}.{key}={value}" for n, of in CHEAP.items() for key, value in of.items()]
)
NAMES = [
    name for name in CONFIG.attribution if not name.startswith("calm_") and name not in ELSEWHERE
]


def convolutional():
    generator = torch.Generator().manual_seed(0)
    layers = [
        *(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(8, 7, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(7, 4),
    ]
    for layer in layers:
        for weight in layer.parameters():
            nn.init.normal_(weight, std=0.5, generator=generator)
    layers[-1].weight.data.abs_()
    network = nn.Sequential(*layers).double().eval()
    other = copy.deepcopy(network)
    for layer in other:
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.mT.contiguous()
    return [split(model, "5") for model in (network, other)]


def transformer():
    torch.manual_seed(0)
    options = {"patch_size": PATCH, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 4}
    networks = [
        timm.create_model("vit_tiny_patch16_224", img_size=size, **options).double().eval()
        for size in ((HEIGHT, WIDTH), (WIDTH, HEIGHT))
    ]
    state = networks[0].state_dict()
    for weight in state.values():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.1)
    networks[0].load_state_dict(state)
    grid = HEIGHT // PATCH, WIDTH // PATCH
    first, positions = state["pos_embed"][:, :1], state["pos_embed"][:, 1:].unflatten(1, grid)
    state["pos_embed"] = torch.cat([first, positions.transpose(1, 2).flatten(1, 2)], dim=1)
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].mT
    networks[1].load_state_dict(state)
    return [split(model, "blocks.2.norm1") for model in networks]


@pytest.fixture(scope="module")
def pairs():
    return {"convolutional": convolutional(), "transformer": transformer()}


def maps(name, kind, pairs):
    method = build_method(CONFIG, name)
    given = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)).double()
    targets = torch.tensor([1, 3])
    plain, transposed = pairs[kind]
    found = method(plain, given, targets)
    assert found.shape == (2, HEIGHT, WIDTH)
    assert found.min() >= 0
    assert found.max() <= 1
    if name in IN_ORDER:
        return None
    assert name == "fakecam" or found.max() > found.min()
    return found, method(transposed, given.mT.contiguous(), targets)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRANSFORMERS])
def test_maps_of_a_convolutional_network(name, pairs):
    found = maps(name, "convolutional", pairs)
    if found:
        atol = ROUNDED.get(name, 1e-5)
        torch.testing.assert_close(found[1].mT, found[0], rtol=0, atol=atol)


@pytest.mark.parametrize(
    "name", [*sorted(TRANSFORMERS), "gradcam", "eigencam", "reciprocam", "rise"]
)
def test_maps_of_a_vision_transformer(name, pairs):
    found = maps(name, "transformer", pairs)
    if found:
        torch.testing.assert_close(found[1].mT, found[0], rtol=0, atol=1e-5)
