"""A network, images and maps made of sines, which any library can make again to the last digit."""

import torch
from torch import nn


def waves(*shape, step):
    """Sines of 0, ``step``, 2 ``step`` and so on, float64."""
    numbers = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(numbers * step).view(shape)


class WaveClassifier(nn.Module):
    """Linear network of images of one size to four logits, which counts the images that it saw."""

    def __init__(self, height=9, width=9):
        super().__init__()
        self.weights = waves(3 * height * width, 4, step=0.7)
        self.seen = 0
        self.eval()

    def forward(self, images):
        self.seen += len(images)
        return images.double().flatten(1) @ self.weights


def wave_batch(height=9, width=9):
    """Two images, their maps in [0, 1] and classes."""
    images = waves(2, 3, height, width, step=0.37)
    return images, (waves(2, height, width, step=1.3) + 1) / 2, torch.tensor([1, 3])


def degenerate_maps(height=9, width=9):
    """Maps by name: constant ones, one peak, ties, and an edge of the image."""
    zeros = torch.zeros(1, height, width, dtype=torch.float64)
    peak, edge = zeros.clone(), zeros.clone()
    peak[0, 4, 4] = 1.0
    edge[0, :, -2:] = 1.0
    ties = (waves(1, height, width, step=1.3) > 0).double()
    maps = {"zeros": zeros, "half": zeros + 0.5, "ones": zeros + 1}
    return maps | {"peak": peak, "edge": edge, "ties": ties}


def generators(count, seed=0):
    """A generator per image."""
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]
