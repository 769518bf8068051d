"""Masking network of Real Time Image Saliency, on a frozen classifier."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from learned_saliency.models.classifier import MultiScaleClassifier
from learned_saliency.models.pyramid import FeaturePyramid
from learned_saliency.models.resizing import resize
from learned_saliency.ops import full_precision, widen

_WIDEST = 4  # factor on the width of the last block that no block exceeds: 256 of 64
_BOTTLENECKS = 3  # in each upsampling block
_TINY = 1e-6  # keeps the quotient of two zeros from being NaN


class RTISMasks(NamedTuple):
    """Masks of one class per image.

    Attributes:
        masks: Masks of shape (B, H, W) in [0, 1] at input resolution, at least float32.
        presence: Largest score of the feature filter in each image, X_ij . C_s, shape (B,), at
            least float32: high where the network finds the class.
    """

    masks: Tensor
    presence: Tensor


class FeatureFilter(nn.Module):
    """Attenuation of features that do not belong to a class, Y_ij = X_ij sigmoid(X_ij . C_s).

    Args:
        channels: Channels K of the features X, at least 1.
        num_classes: Number of classes s, each with a learned vector C_s of length K.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, channels)
        nn.init.normal_(self.embedding.weight, std=channels**-0.5)

    def forward(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Filter.

        Args:
            features: X, shape (B, K, h, w).
            targets: Classes s, int64 (B,).

        Returns:
            Y, shape (B, K, h, w), and the scores X_ij . C_s, shape (B, h, w), at least float32.
        """
        with full_precision(features.device):
            scores = torch.einsum("bkhw,bk->bhw", widen(features), self.embedding(targets))
        return features * scores.sigmoid()[:, None].to(features.dtype), scores


class MaskingDecoder(nn.Module):
    """U-Net decoder from filtered features to a mask (Dabkowski and Gal, Sec. 4.2).

    Each block enlarges the map by a transposed convolution to the next finer level, appends that
    level, and applies three bottleneck blocks. Where the finest level is coarser than
    ``map_reduction``, blocks without a level follow. A 1x1 convolution gives two maps, and the mask
    is |C_0| / (|C_0| + |C_1|), enlarged bilinearly to the image.

    Args:
        channels: Channels K_i of the levels, from fine to coarse.
        reductions: Pixels of the image per cell of each level, along one side.
        width: Channels of the last block, at least 1; the block before has twice as many, and those
            before four times.
        map_reduction: Pixels of the image per cell of the mask, along one side, at least 1: levels
            finer than the coarsest one that is at least as fine are not read. 4 in the paper: of a
            ResNet-50 the levels of 1/4 to 1/32.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        channels: Sequence[int],
        reductions: Sequence[float],
        width: int = 64,
        map_reduction: int = 4,
    ) -> None:
        super().__init__()
        if width < 1 or map_reduction < 1:
            raise ValueError(
                f"width and map_reduction must be at least 1, got {width} and {map_reduction}"
            )
        fine = [i for i, reduction in enumerate(reductions) if reduction <= map_reduction]
        self.first = fine[-1] if fine else 0
        skips, sides = list(channels)[self.first : -1], [float(r) for r in reductions[self.first :]]
        while sides[0] >= 2 * map_reduction:  # doublings beyond the finest level
            skips, sides = [0, *skips], [sides[0] / 2, *sides]
        widths = [width * min(_WIDEST, 2**i) for i in range(len(skips))][::-1]
        factors = [coarse / fine for fine, coarse in pairwise(sides)][::-1]
        inputs = [channels[-1], *widths]
        self.blocks = nn.ModuleList(
            UpsamplingBlock(*sizes)
            for sizes in zip(inputs, skips[::-1], widths, factors, strict=False)
        )
        self.pair = nn.Conv2d(inputs[-1], 2, 1)

    def forward(self, filtered: Tensor, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode a mask.

        Args:
            filtered: Filtered features of the last level, shape (B, K, h, w).
            levels: Feature maps (B, K_i, h_i, w_i) before the last one, from fine to coarse.
            size: Height H and width W of the mask in pixels.

        Returns:
            Masks of shape (B, H, W) in [0, 1], at least float32.
        """
        skips = [*levels[self.first :]][::-1]
        maps = filtered
        for index, block in enumerate(self.blocks):
            maps = block(maps, skips[index] if index < len(skips) else None)
        kept, other = widen(self.pair(maps)).abs().unbind(dim=1)
        masks = kept / (kept + other + _TINY)
        return resize(masks[:, None], size, "bilinear")[:, 0]


class UpsamplingBlock(nn.Module):
    """Transposed convolution, the next finer level beside its output, and three bottlenecks.

    Args:
        in_channels: Channels of the coarse map.
        skip_channels: Channels of the finer level; 0 for none.
        width: Channels of the output.
        factor: Cells of the fine map per cell of the coarse map, along one side, at least 1. Where
            it is not whole, or a side is odd, the map is resized to the finer level.
    """

    def __init__(self, in_channels: int, skip_channels: int, width: int, factor: float) -> None:
        super().__init__()
        stride = max(1, round(factor))
        if stride == 1:
            enlarge: nn.Module = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        else:  # a kernel of twice the stride covers all cells alike
            options = {"stride": stride, "padding": stride // 2, "bias": False}
            enlarge = nn.ConvTranspose2d(in_channels, width, 2 * stride, **options)
        self.enlarge = nn.Sequential(enlarge, nn.BatchNorm2d(width), nn.ReLU())
        channels = [width + skip_channels] + [width] * (_BOTTLENECKS - 1)
        self.bottlenecks = nn.Sequential(*(Bottleneck(number, width) for number in channels))

    def forward(self, maps: Tensor, level: Tensor | None) -> Tensor:
        """Enlarge maps (B, K, h, w) to the cells of a level (B, K', h', w')."""
        maps = self.enlarge(maps)
        if level is not None:
            maps = torch.cat([resize(maps, level.shape[-2:], "bilinear"), level], dim=1)
        return self.bottlenecks(maps)


class Bottleneck(nn.Module):
    """Residual block of a 1x1, a 3x3 and a 1x1 convolution (He et al. 2016), a quarter as wide."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        inner = max(1, width // 4)
        self.residual = nn.Sequential(
            *(nn.Conv2d(in_channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)),
        )
        same = in_channels == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, K, h, w) to (B, ``width``, h, w), at least 0."""
        return (self.residual(maps) + self.shortcut(maps)).relu()


class RTIS(nn.Module):
    """Real Time Image Saliency: a frozen classifier and a network that masks one class at a time.

    Dabkowski and Gal, NeurIPS 2017. The encoder of the masking network is the classifier's
    backbone, whose last level goes through the `FeatureFilter` of the class and then, with the
    finer levels, through the `MaskingDecoder`. Levels that are all equally big, a plain vision
    transformer's, go through a `FeaturePyramid`, which is trained with the decoder.

    The classifier is frozen for good: its parameters need no gradient, it runs in evaluation mode
    whatever ``train`` says, and no graph is recorded for its clean pass, which serves logits and
    masks of all classes.

    Departures from the released code, which differs from the paper: three bottlenecks per block and
    a transposed convolution of 4x4, where it has one bottleneck and a 3x3 convolution with pixel
    shuffling; no constant, ``model_confidence``, is taken off the filter's scores when it explains.

    Args:
        classifier: Trained classifier of at least two classes, an ``nn.Module``; taken over and
            frozen in place.
        width: See `MaskingDecoder`.
        map_reduction: See `MaskingDecoder`.

    Raises:
        ValueError: If there is a single class; see `MaskingDecoder`, too.
    """

    def __init__(
        self, classifier: MultiScaleClassifier, width: int = 64, map_reduction: int = 4
    ) -> None:
        super().__init__()
        if classifier.num_classes < 2:
            raise ValueError("a network that masks classes needs at least 2 of them, got 1")
        self.classifier = classifier.requires_grad_(False).eval()
        backbone = classifier.backbone
        self.pyramid = FeaturePyramid(backbone.channels, backbone.reductions)
        channels, reductions = self.pyramid.channels, self.pyramid.reductions
        self.filter = FeatureFilter(channels[-1], classifier.num_classes)
        self.decoder = MaskingDecoder(channels, reductions, width, map_reduction)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the masking network; the classifier stays in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def classify(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute levels (B, K_i, h_i, w_i) and logits (B, C) of images (B, 3, H, W)."""
        with torch.no_grad():
            levels = self.classifier.levels(images)
            return levels, self.classifier.head(levels[-1])

    def forward(
        self, levels: Sequence[Tensor], targets: Tensor, size: tuple[int, int]
    ) -> RTISMasks:
        """Mask one class of each image.

        Args:
            levels: The classifier's feature maps (B, K_i, h_i, w_i), from fine to coarse.
            targets: Classes s, int64 (B,) in [0, C).
            size: Height H and width W of the images.
        """
        *finer, last = self.pyramid(levels)
        filtered, scores = self.filter(last, targets)
        return RTISMasks(self.decoder(filtered, finer, size), scores.amax(dim=(1, 2)))
