import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from learned_saliency.models.classifier import MultiScaleClassifier
from learned_saliency.models.pyramid import FeaturePyramid
from learned_saliency.models.smp_decoder import SMPDecoder
from learned_saliency.models.unet import UNetDecoder
from learned_saliency.ops import widen

FOREGROUNDS = ("any", "class")  # what a foreground map is of
_WIDTHS = (256, 128, 64, 32, 16)  # Tab. F.2


class FCAMOutput(NamedTuple):
    """Output of one pass of ``FCAM``.

    Attributes:
        logits: Class scores of the frozen classifier, (B, C).
        features: The classifier's last feature maps, (B, K, h, w), from which ``classifier.cams``
            makes CAMs.
        scores: Scores of the decoder before the softmax, (B, 1 + F, H, W): background, then the F
            foregrounds, 1 for all classes or one per class.
    """

    logits: Tensor
    features: Tensor
    scores: Tensor


class FCAM(nn.Module):
    """F-CAM: a frozen classifier and a decoder to foreground maps at full resolution.

    Belharbi et al. 2022, Fig. 2. The classifier is frozen for good: its parameters need no
    gradient, it runs in evaluation mode (batch normalization included) whatever ``train`` says,
    and no graph is recorded for it. One pass of the classifier serves logits, CAMs and decoder.
    Levels that are all equally big, a plain vision transformer's, go through a `FeaturePyramid`,
    which is trained with the decoder.

    Args:
        classifier: Trained classifier, an ``nn.Module``; taken over and frozen in place.
        widths: Channels of the decoder's layers, from coarse to fine. By default the widths of
            Tab. F.2 (256, 128, 64, 32, 16, and 16 from there on), as many as are needed to reach
            the image: five for ResNet-50 and Inception-v3, three for VGG16. A library's decoder
            takes the first of them, see `SMPDecoder`.
        center: See ``UNetDecoder``; a library's decoder has options of its own.
        decoder: ``smp:NAME`` for a decoder of segmentation-models-pytorch, see `SMPDecoder`; None
            for the paper's U-Net.
        decoder_options: Further arguments of a library's decoder, by the names of its class.
        foreground: ``"any"`` for one foreground map for all classes, the paper's, or ``"class"``
            for one of each class.

    Attributes:
        per_class: Whether each class has a foreground map.

    Raises:
        ValueError: If ``foreground`` is another word, there are too few or too many ``widths`` for
            the levels of the backbone, or the decoder does not exist or does not fit.
    """

    def __init__(
        self,
        classifier: MultiScaleClassifier,
        widths: Sequence[int] | None = None,
        center: bool = False,
        decoder: str | None = None,
        decoder_options: Mapping[str, Any] | None = None,
        foreground: str = "any",
    ) -> None:
        super().__init__()
        if foreground not in FOREGROUNDS:
            raise ValueError(f"foreground must be one of {FOREGROUNDS}, got {foreground!r}")
        self.per_class = foreground == "class"
        regions = 1 + classifier.num_classes if self.per_class else 2
        self.classifier = classifier.requires_grad_(False).eval()
        backbone = classifier.backbone
        self.pyramid = FeaturePyramid(backbone.channels, backbone.reductions)
        channels, reductions = self.pyramid.channels, self.pyramid.reductions
        if decoder is not None:
            widths = _WIDTHS if widths is None else widths
            options = decoder_options, regions
            self.decoder = SMPDecoder(decoder, channels, reductions, widths, *options)
            return
        if decoder_options:
            raise ValueError(
                f"decoder_options={dict(decoder_options)} are those of a library's decoder: name "
                "it, decoder=smp:NAME, or leave them out"
            )
        # One layer for each skip connection and, from the finest level on, for each doubling.
        doublings = (math.ceil(reductions[0]) - 1).bit_length()
        needed = len(channels) - 1 + doublings
        if widths is None:
            widths = [*_WIDTHS[:needed], *_WIDTHS[-1:] * (needed - len(_WIDTHS))]
        elif not len(channels) - 1 <= len(widths) <= needed:
            raise ValueError(
                f"levels of {channels} channels at 1/{reductions} of the image "
                f"take {len(channels) - 1} to {needed} decoder widths, got {list(widths)}"
            )
        self.decoder = UNetDecoder(channels, widths, center, regions)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the decoder; the classifier stays in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, images: Tensor) -> FCAMOutput:
        """Classify and localize.

        Args:
            images: Normalized images of shape (B, 3, H, W).

        Returns:
            Logits, features and scores; only the scores carry a gradient.
        """
        with torch.no_grad():
            levels = self.classifier.levels(images)
            logits = self.classifier.head(levels[-1])
        scores = self.decoder(self.pyramid(levels), images.shape[-2:])
        return FCAMOutput(logits, levels[-1], scores)

    @staticmethod
    def foreground(scores: Tensor, targets: Tensor | None = None) -> Tensor:
        """Compute foreground maps: the paper's S^2, the second channel of the softmax over both.

        Args:
            scores: Scores of shape (B, 2, H, W); with ``targets`` (B, 1 + C, H, W).
            targets: Classes whose foreground is wanted, int64 (B,) in 0..C-1; None where one map is
                for all classes.

        Returns:
            Maps of shape (B, H, W) in [0, 1], at least float32.

        Raises:
            ValueError: If ``scores`` does not have that shape.
        """
        if scores.ndim != 4 or (targets is None and scores.shape[1] != 2):
            raise ValueError(f"scores must have shape (B, 2, H, W), got {tuple(scores.shape)}")
        probabilities = widen(scores).softmax(dim=1)
        if targets is None:
            return probabilities[:, 1]
        chosen = (1 + targets)[:, None, None, None].expand(-1, 1, *scores.shape[2:])
        return probabilities.gather(1, chosen)[:, 0]
