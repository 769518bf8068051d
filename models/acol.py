from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learned_saliency.models.cam import CAMClassifier
from learned_saliency.models.pooling import Pooling
from learned_saliency.ops import full_precision, maximum_of_present, min_max, widen


class ACoLOutput(NamedTuple):
    """Class scores of both branches of ``ACoL``.

    Attributes:
        logits: Scores (B, C) of branch A, the network's prediction.
        erased_logits: Scores (B, C) of branch B, which sees the features that A's map leaves.
    """

    logits: Tensor
    erased_logits: Tensor


class ACoL(nn.Module):
    """Two classifiers on the same features, the second without what the first one found.

    Zhang et al., Adversarial Complementary Learning, CVPR 2018. Each branch has two 3x3
    convolutions with ReLU, a 1x1 convolution to the classes and global average pooling. The map of
    the image's class of branch A, min-max normalized, erases the features of the cells where it
    reaches the threshold delta; branch B has to classify what is left. The map of a class is the
    maximum of both branches' normalized maps in each cell.

    As in the authors' code and in the WSOL benchmark, the logits are those of branch A, also for a
    test, and a class's map of branch B is made of the features that A's map *of this class* leaves.
    So ``head`` is branch A, and `cams` runs both. No gradient passes through the erasing.

    Departures: the authors' VGG16 pools with overlapping 3x3 windows, also once more on top of the
    features; here the backbone is as it is. A constant map erases nothing, as there, where it is
    NaN.

    Args:
        backbone: Network of images (B, 3, H, W) to a list of levels from fine to coarse, with their
            widths in ``channels``, as ``MultiScaleBackbone``; without ``neck_channels``, in whose
            place the branches are.
        num_classes: Number of classes C, at least 1.
        branch_width: Channels of the branches' convolutions, at least 1. None for the paper's 1024,
            or as many as the features have where these have less than 512.
        erasing_threshold: The paper's delta, above 0 and at most 1: the features of a cell are
            erased where branch A's normalized map is at least that.
        pretrained_head: None; the branches have no layer that other networks have.
        pooling: Pooling of the class maps of both branches; see `CAMClassifier`.

    Raises:
        ValueError: If a number is out of its range, or ``pretrained_head`` is given.
    """

    cams_are_probabilities = False

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        branch_width: int | None = None,
        erasing_threshold: float = 0.6,
        pretrained_head: str | None = None,
        pooling: Pooling | None = None,
        answers: None = None,
    ) -> None:
        super().__init__()
        channels = backbone.channels[-1]
        if branch_width is None:
            branch_width = 1024 if channels >= 512 else channels
        if branch_width < 1:
            raise ValueError(f"branch_width must be at least 1, got {branch_width}")
        if not 0 < erasing_threshold <= 1:
            raise ValueError(
                f"erasing_threshold must be above 0 and at most 1, got {erasing_threshold}"
            )
        if answers is not None:
            raise ValueError("ACoL's branches have a row per class, so that answers must be null")
        if pretrained_head:
            raise ValueError("ACoL's branches are new layers, so that pretrained_head must be null")
        self.backbone = backbone
        self.num_classes = num_classes
        self.erasing_threshold = erasing_threshold
        self.branch_a, self.branch_b = (
            CAMClassifier(_Convolutions(channels, branch_width), num_classes, pooling=pooling)
            for _ in range(2)
        )
        for branch in (self.branch_a, self.branch_b):
            nn.init.xavier_uniform_(branch.fc.weight)
            nn.init.zeros_(branch.fc.bias)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Extract feature maps of all scales from images (B, 3, H, W), for a decoder."""
        return self.backbone(images)

    def features(self, images: Tensor) -> Tensor:
        """Extract the feature maps (B, K, h, w) of the last level, which both branches read."""
        return self.levels(images)[-1]

    def head(self, features: Tensor) -> Tensor:
        """Compute the class scores (B, C) of branch A from feature maps (B, K, h, w)."""
        self._check(features)
        return self.branch_a(features)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """List what `head` reads, branch A's weights; see `MultiScaleClassifier`."""
        yield from self.branch_a.parameters()

    def forward(self, images: Tensor) -> Tensor:
        """Classify images of shape (B, 3, H, W): logits (B, C) of branch A."""
        return self.head(self.features(images))

    def branches(self, features: Tensor, labels: Tensor) -> ACoLOutput:
        """Classify by both branches, as in training.

        Args:
            features: Maps of shape (B, K, h, w).
            labels: Classes whose maps erase, int64 (B,) in 0..C-1; or whether each class's map
                does, bool (B, C), by the maximum of the normalized maps.
        """
        self._check(features)
        hidden = self.branch_a.features(features)
        with torch.no_grad():
            if labels.dtype == torch.bool:
                maps = maximum_of_present(min_max(self.branch_a.cams(hidden)), labels)
            else:
                maps = min_max(self.branch_a.cams(hidden, labels))
        erased = self.erase(features, maps)
        return ACoLOutput(self.branch_a.head(hidden), self.branch_b(erased))

    def erase(self, features: Tensor, maps: Tensor) -> Tensor:
        """Set the features of cells to zero where a map reaches the threshold.

        Args:
            features: Maps of shape (B, K, h, w).
            maps: Normalized class maps of shape (B, h, w) in [0, 1].
        """
        return features.masked_fill((maps >= self.erasing_threshold)[:, None], 0.0)

    def cams(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Compute the fused class maps, the maximum of both branches' normalized maps.

        The maps of all classes take a pass of branch B for each class.

        Args:
            features: Maps of shape (B, K, h, w).
            labels: One class per image, integers of shape (B,) in 0..C-1; None for all classes.

        Returns:
            Maps in [0, 1], at least float32, of shape (B, h, w), or (B, C, h, w) of all classes.

        Raises:
            ValueError: If a shape is not as above.
            TypeError: If ``labels`` are not integers.
        """
        self._check(features)
        found = self.branch_a.cams(self.branch_a.features(features), labels)
        if labels is not None:
            return self._fuse(features, found, labels)
        every = torch.zeros(features.shape[0], dtype=torch.int64, device=features.device)
        fused = [self._fuse(features, maps, every + c) for c, maps in enumerate(found.unbind(1))]
        return torch.stack(fused, dim=1)

    def _fuse(self, features: Tensor, maps: Tensor, labels: Tensor) -> Tensor:
        """Join branch A's maps (B, h, w) of the labels with those of branch B."""
        first = min_max(maps)
        hidden = self.branch_b.features(self.erase(features, first))
        return torch.maximum(first, min_max(self.branch_b.cams(hidden, labels)))

    def head_gradients(self, features: Tensor, targets: Tensor) -> Tensor:
        """Compute the gradient of each image's logit of a class by the features.

        Args:
            features: Maps of shape (B, K, h, w).
            targets: One class per image, int64 (B,) in 0..C-1.

        Returns:
            Gradients of shape (B, K, h, w), at least float32.
        """
        self._check(features)
        layers = self.branch_a.backbone.layers
        outputs = [widen(features)]
        with full_precision(features.device):
            for layer in layers:
                weight, bias = widen(layer.weight), widen(layer.bias)
                outputs.append(F.conv2d(outputs[-1], weight, bias, padding=1).relu())
            gradients = self.branch_a.head_gradients(outputs[-1], targets)
            for layer, output in zip(reversed(layers), reversed(outputs), strict=False):
                kept = gradients * (output > 0)
                gradients = F.conv_transpose2d(kept, widen(layer.weight), padding=1)
        return gradients

    def _check(self, features: Tensor) -> None:
        channels = self.backbone.channels[-1]
        if features.ndim != 4 or features.shape[1] != channels:
            expected = f"(B, {channels}, h, w)"
            raise ValueError(f"features must have shape {expected}, got {tuple(features.shape)}")


class _Convolutions(nn.Module):
    """Two 3x3 convolutions with ReLU, as the backbone of a classifier of features."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = (width,)
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs, width, 3, padding=1) for inputs in (channels, width)
        )
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> list[Tensor]:
        for layer in self.layers:
            features = layer(features).relu()
        return [features]
