"""Small networks and their optimizer."""

from functools import partial
from itertools import pairwise

import torch
from torch import nn

SGD = partial(torch.optim.SGD, lr=0.1)


class TinyBackbone(nn.Module):
    """Levels at 1/2, 1/4 and so on, each with a norm layer; what `MultiScaleBackbone` offers."""

    def __init__(self, channels=(4, 6), norm=nn.BatchNorm2d, bias=True):
        super().__init__()
        self.channels = channels
        self.reductions = tuple(2 ** (i + 1) for i in range(len(channels)))
        self.network = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=bias), norm(b), nn.ReLU())
            for a, b in pairwise((3, *channels))
        )

    def forward(self, images):
        levels = []
        for stage in self.network:
            images = stage(images)
            levels.append(images)
        return levels
