"""Networks as a user's own module has them, for words ``tests.support.own_networks:NAME``."""

from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.training import train

OWN = __name__
SIZES = ("data.crop_size", "data.resize_size")  # keys that the words of a small run name
COMMON = ["++recipe.decoder_widths=null", "+trainer.limit_train_batches=2", "pictures.images=0"]


def trained(words: list[str], *more: str) -> Path:
    """Train by the words of a command line; return the run's folder."""
    return train(compose_checked([*words, *more]), SIZES).folder


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


class _Segmentation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = _seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU()))
        self.out = _seeded(lambda: nn.Conv2d(6, 16, 3, padding=1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.out(self.body(images)), "aux": images}


class _Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = _seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU()))
        self.out = _seeded(lambda: nn.Linear(6, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.body(images).mean((2, 3)))


segmentation, regression = _Segmentation, _Regression


def upper_half(output: dict[str, Tensor]) -> Tensor:
    """Mean of the logits over the upper half of a segmentation: (B, 16)."""
    logits = output["out"]
    return logits[:, :, : logits.shape[2] // 2].mean((2, 3))


def difference(logits: Tensor) -> Tensor:
    """Difference of two logits: (B,)."""
    return logits[:, 3] - logits[:, 5]
