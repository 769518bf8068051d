"""Networks as a user's own module has them, for words ``tests.support.own_networks:NAME``."""

import torch
import torchvision
from torch import Tensor, nn


def convolutional(num_classes: int = 16) -> nn.Module:
    """A small network whose head is linear in the pooled features, so that CAM fits."""
    return _Small(num_classes, linear=True)


def nonlinear(num_classes: int = 16) -> nn.Module:
    """A small network whose head is not linear, with logits in a dictionary."""
    return _Small(num_classes, linear=False)


def transformer(num_classes: int = 16) -> nn.Module:
    """A vision transformer of four blocks for images of 32 pixels, whose head reads more."""
    return _seeded(lambda: torchvision.models.VisionTransformer(
        32, 8, 4, 2, 12, 24, num_classes=num_classes))  # fmt: skip


class _Small(nn.Module):
    def __init__(self, num_classes: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.stem = _seeded(lambda: nn.Conv2d(3, 4, 3, padding=1, stride=2))
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.middle = _seeded(lambda: nn.Conv2d(4, 6, 3, padding=1, stride=2))
        self.last = _seeded(lambda: nn.Conv2d(6, 8, 3, padding=1, stride=2))
        self.dropout = nn.Dropout(0.5)
        self.fc = _seeded(lambda: nn.Linear(8, num_classes))

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        features = self.last(self.middle(self.act(self.norm(self.stem(images)))))
        if self.linear:
            return self.fc(self.dropout(features.mean((2, 3))))
        return {"logits": self.fc(features.relu().amax((2, 3))), "more": images}


def _seeded(build: type[nn.Module] | object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()
