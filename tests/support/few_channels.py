"""Classifiers of a few channels, and their Shapley values by all subsets."""

import math
from itertools import combinations

import torch
from torch import nn


class FewChannels(nn.Module):
    """A classifier whose head is of any order in its channels: far from additive."""

    def __init__(self, channels, affine=False):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3)
        inner = nn.Identity() if affine else nn.Sequential(nn.Linear(channels, 12), nn.Sigmoid())
        self.inner, self.last = inner, nn.Linear(channels if affine else 12, 3)
        self.rows, self.passes = [], 0

    def features(self, images):
        self.passes += len(images)
        return self.conv(images).relu()

    def head(self, features):
        self.rows.append(len(features))
        return self.last(self.inner(20 * features.mean(dim=(2, 3))))

    def forward(self, images):
        return self.head(self.features(images))


def few_channels(channels=5, affine=False, seed=0, batch=2):
    """Make such a classifier in float64, and images."""
    torch.manual_seed(seed)
    classifier = FewChannels(channels, affine).double()
    if not affine:
        nn.init.normal_(classifier.inner[0].weight, std=1.5)
    return classifier, torch.rand(batch, 3, 8, 8, dtype=torch.float64)


def score_of(classifier, features, subset, target):
    """Run the head of one image with some channels, all others being 0."""
    mask = torch.zeros(features.shape[1], dtype=features.dtype)
    mask[list(subset)] = 1
    return classifier.head(features * mask[:, None, None])[0, target].item()


def shapley_values(classifier, images, targets):
    """Eq. 6 of paper 002 by all subsets, for each image."""
    values = []
    for image, target in zip(images, targets, strict=True):
        features = classifier.features(image[None]).detach()
        channels = features.shape[1]
        own = []
        for k in range(channels):
            others = [j for j in range(channels) if j != k]
            gains = []
            for size in range(channels):
                count = channels * math.comb(channels - 1, size)
                for subset in combinations(others, size):
                    gain = score_of(classifier, features, (*subset, k), target)
                    gain -= score_of(classifier, features, subset, target)
                    gains.append(gain / count)
            own.append(sum(gains))
        values.append(own)
    return torch.tensor(values, dtype=images.dtype)
