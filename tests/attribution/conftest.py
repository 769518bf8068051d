"""Tiny classifiers and the golden numbers of the room."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.support.paths import GOLDEN


class TinyCNN(nn.Module):
    """The golden files' network: three convolutions to A (B, 8, 8, 8), and one of three heads."""

    def __init__(self, head_kind, dtype=torch.float64):
        super().__init__()
        self.head_kind = head_kind
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 8, 3, padding=1)
        self.fc = nn.Linear(8, 10)
        self.mlp1, self.mlp2 = nn.Linear(8, 24), nn.Linear(24, 10)
        self.flat1, self.flat2 = nn.Linear(512, 24), nn.Linear(24, 10)
        self.load_state_dict(load_file(GOLDEN / "tiny_cnn.safetensors"))
        self.to(dtype)

    def features(self, images):
        x = nn.functional.avg_pool2d(self.conv1(images).relu(), 2)
        x = nn.functional.avg_pool2d(self.conv2(x).relu(), 2)
        return self.conv3(x).relu()

    def head(self, features):
        pooled = features.mean(dim=(2, 3))
        if self.head_kind == "linear":
            return self.fc(pooled)
        if self.head_kind == "mlp":
            return self.mlp2(self.mlp1(pooled).relu())
        return self.flat2(self.flat1(features.flatten(1)).relu())

    def forward(self, images):
        return self.head(self.features(images))


class FixedFeatures(nn.Module):
    """Gives the same activations (K, h, w) for every image; the head is linear in all of them."""

    def __init__(self, features, weights, bias):
        super().__init__()
        self.fixed = nn.Parameter(torch.tensor(features, dtype=torch.float64))
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))  # (C, K, h, w)
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float64))

    def features(self, images):
        return self.fixed.expand(len(images), *self.fixed.shape)

    def head(self, features):
        return features.flatten(1) @ self.weights.flatten(1).T + self.bias

    def forward(self, images):
        return self.head(self.features(images))


@pytest.fixture(scope="session")
def liftcam_golden():
    with np.load(GOLDEN / "liftcam.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture
def tiny_cnn():
    return TinyCNN


@pytest.fixture
def by_hand():
    """A of two channels and two positions, y_0 = sum of g * A + 1, y_1 = 0, and one image."""
    classifier = FixedFeatures(
        [[[1.0, 3.0]], [[2.0, 1.0]]],
        [[[[1.0, 3.0]], [[-1.0, 2.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]],
        [1.0, 0.0],
    )
    return classifier, torch.rand(1, 3, 1, 2, dtype=torch.float64)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(7)
    return torch.rand(4, 3, 32, 32, generator=generator, dtype=torch.float64)
