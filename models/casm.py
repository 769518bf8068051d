import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from learned_saliency.models.classifier import MultiScaleClassifier
from learned_saliency.models.pyramid import FeaturePyramid
from learned_saliency.models.resizing import resize
from learned_saliency.ops import widen


class CASMOutput(NamedTuple):
    """Output of one pass of ``CASM``.

    Attributes:
        logits: Class scores of the classifier, (B, C).
        levels: The classifier's feature maps (B, K_i, h_i, w_i) from fine to coarse.
        saliency: Masks of shape (B, H, W) in [0, 1] at input resolution, the same for every class.
    """

    logits: Tensor
    levels: list[Tensor]
    saliency: Tensor


class MaskDecoder(nn.Module):
    """Decoder of an encoder's levels to a mask (Zolna et al., Sec. 3.1 and Fig. 1).

    The first level is taken as it is; each other level goes through a 1x1 convolution, batch
    normalization and ReLU and is resized bilinearly to the first level's cells. All are
    concatenated, and one 3x3 convolution and a sigmoid give the mask, which is then enlarged to the
    image. Levels that are all equally big, a plain vision transformer's, go through a
    `FeaturePyramid` first.

    Args:
        channels: Channels K_i of the levels, from fine to coarse.
        reductions: Pixels of the image per cell of each level, along one side.
        width: Channels of each branch, at least 1; 64 in the paper.
        map_reduction: Pixels of the image per cell of the mask, along one side: a finer first level
            is pooled (maximum of 3x3 cells, stride 2) until it has that size. 4 in the paper: then
            a ResNet's first level becomes the output of its stem, 64 channels of 56x56 cells at 224
            pixels. Of fractional sizes (3.5 pixels, of patches of 14) the largest that is not above
            it is taken. None keeps the first level's size.
        interpolation: How the mask is enlarged: ``"bilinear"`` as in the paper's text, or
            ``"nearest"``, which its Tab. 1 compares and the released code has by default.

    Raises:
        ValueError: If an argument is out of range, or pooling cannot lead to ``map_reduction``.
    """

    def __init__(
        self,
        channels: Sequence[int],
        reductions: Sequence[float],
        width: int = 64,
        map_reduction: int | None = 4,
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"interpolation must be bilinear or nearest, got {interpolation!r}")
        self.pyramid = FeaturePyramid(channels, reductions)
        self.poolings = _poolings(self.pyramid.reductions[0], map_reduction)
        self.interpolation = interpolation
        first, *others = self.pyramid.channels
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(number, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for number in others
        )
        self.score = nn.Conv2d(first + width * len(others), 1, 3, padding=1)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode a mask.

        Args:
            levels: Feature maps (B, K_i, h_i, w_i) from fine to coarse.
            size: Height H and width W of the mask in pixels.

        Returns:
            Masks of shape (B, H, W) in [0, 1], at least float32.
        """
        first, *others = self.pyramid(levels)
        for _ in range(self.poolings):
            first = functional.max_pool2d(first, 3, stride=2, padding=1)
        parts = [first, *(b(level) for b, level in zip(self.branches, others, strict=True))]
        taps = self._taps(parts)
        shifts = torch.eye(9, dtype=taps.dtype, device=taps.device).view(1, 9, 3, 3)
        score = functional.conv2d(taps, shifts, self.score.bias, padding=1)
        return resize(widen(score).sigmoid(), size, self.interpolation)[:, 0]

    def _taps(self, parts: Sequence[Tensor]) -> Tensor:
        """Compute the input of each place of the 3x3 kernel, (B, 9, h, w), over all branches.

        Mixing channels and resizing commute: mixing first leaves 9 channels to resize instead of
        the channels of all branches, and nothing to concatenate.
        """
        weights = self.score.weight[0].split([part.shape[1] for part in parts])  # (K, 3, 3) each
        mixed = [
            functional.conv2d(part, weight.flatten(1).t()[:, :, None, None])
            for part, weight in zip(parts, weights, strict=True)
        ]
        return sum(resize(taps, parts[0].shape[-2:], "bilinear") for taps in mixed)


class CASM(nn.Module):
    """A classifier and the mask network that is trained beside it (Zolna et al., Sec. 3.1).

    The mask network is an encoder with a `MaskDecoder`. A shared encoder is the classifier's
    backbone: the decoder reads its levels, detached, and does not train it. A separate encoder
    starts as a copy of the classifier's backbone and learns with the decoder (Tab. 2, i to k).

    Args:
        classifier: Trained classifier; taken over.
        shared: Whether the encoder is the classifier's backbone.
        width: See `MaskDecoder`.
        map_reduction: See `MaskDecoder`.
        interpolation: See `MaskDecoder`.

    Raises:
        ValueError: If a separate encoder is wanted of a backbone that is frozen; see `MaskDecoder`,
            too.
    """

    def __init__(
        self,
        classifier: MultiScaleClassifier,
        shared: bool = True,
        width: int = 64,
        map_reduction: int | None = 4,
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        self.classifier = classifier
        backbone = classifier.backbone
        if not shared and getattr(backbone, "frozen", False):
            raise ValueError(
                "shared=false trains a copy of the backbone, but backbone.frozen=true trains none: "
                "leave one of them out"
            )
        self.encoder = None if shared else copy.deepcopy(backbone)
        self.decoder = MaskDecoder(
            backbone.channels, backbone.reductions, width, map_reduction, interpolation
        )
        self._frozen = False

    def freeze_classifier(self) -> None:
        """Freeze the classifier for good: no gradient, evaluation mode whatever ``train`` says."""
        self._frozen = True
        self.classifier.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen classifier stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.classifier.eval()
        return self

    def masks(self, images: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """Compute the masks of images that are classified already.

        Args:
            images: Normalized images of shape (B, 3, H, W).
            levels: The classifier's feature maps of the images; a separate encoder ignores them.

        Returns:
            Masks of shape (B, H, W) in [0, 1]; the gradient ends at the mask network.
        """
        if self.encoder is None:
            levels = [level.detach() for level in levels]
        else:
            levels = self.encoder(images)
        return self.decoder(levels, images.shape[-2:])

    def forward(self, images: Tensor) -> CASMOutput:
        """Classify and localize images of shape (B, 3, H, W)."""
        levels = self.classifier.levels(images)
        logits = self.classifier.head(levels[-1])
        return CASMOutput(logits, levels, self.masks(images, levels))

    def mask_parameters(self) -> Iterator[nn.Parameter]:
        """List the trained parameters of the mask network: decoder's, and a separate encoder's."""
        parts = [self.decoder] if self.encoder is None else [self.decoder, self.encoder]
        for part in parts:
            yield from (weight for weight in part.parameters() if weight.requires_grad)


def _poolings(reduction: float, wanted: int | None) -> int:
    """Count the halvings after which a level has ``wanted`` pixels of the image per cell."""
    count, reached = 0, reduction
    if wanted is not None and not float(reduction).is_integer():
        return max(0, math.floor(math.log2(wanted / reduction)))
    while wanted is not None and reached < wanted:
        count, reached = count + 1, 2 * reached
    if wanted is not None and (wanted < 1 or (count and reached != wanted)):
        raise ValueError(
            f"map_reduction must be the first level's {reduction} times a power of 2, got {wanted}"
        )
    return count
