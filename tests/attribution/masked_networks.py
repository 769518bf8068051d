"""A network whose activations have the size of its images, for oracles that mask by them."""

import torch
from torch import nn

CLASSES = torch.tensor([1, 3])


class FullSize(nn.Module):
    """Convolution, ReLU, a second convolution, pooling and a linear layer."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())
            self.more, self.fc = nn.Conv2d(5, 8, 3), nn.Linear(8, 4)
            self.fc.weight.data *= 8

    def forward(self, images):
        return self.fc(self.more(self.body(images)).relu().mean((2, 3)))


def images_of(count):
    """Draw images (B, 3, 10, 12)."""
    return torch.randn(count, 3, 10, 12, generator=torch.Generator().manual_seed(2))
