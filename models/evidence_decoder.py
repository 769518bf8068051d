"""Decoder from the evidence of a class to its map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learned_saliency.models.evidence import EVIDENCE, check_channels, class_evidence, scaled
from learned_saliency.models.unet import UNetDecoder
from learned_saliency.ops import full_precision, widen


class EvidenceDecoder(nn.Module):
    """Decoder from features and the evidence of a class to a map.

    Features and evidence, the product of features and gradient, are each brought to ``width``
    channels by a 1x1 convolution and stand beside four maps of evidence. Then F-CAM's decoder
    (`UNetDecoder`) works on them, which doubles the map ``doublings`` times; the map is its
    probability of the foreground. It reads the last level alone, so that it works for any layer of
    any classifier, at a small part of the cost of the classifier.

    Args:
        channels: Number K of channels, at least 1.
        width: Channels of all layers, at least 1.
        doublings: How often the resolution of the features is doubled, at least 1.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, channels: int, width: int = 64, doublings: int = 1) -> None:
        super().__init__()
        if min(channels, width, doublings) < 1:
            raise ValueError(
                "channels, width and doublings must be at least 1, "
                f"got {channels}, {width} and {doublings}"
            )
        self.channels = channels
        self.doublings = doublings
        self.features = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU())
        self.evidence = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU())
        inputs = 2 * width + EVIDENCE
        self.decoder = UNetDecoder([inputs], [width] * doublings)

    def forward(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Compute maps.

        Args:
            features: A, shape (B, K, h, w), at least 0.
            gradients: Gradient of the class's logit by A, shape (B, K, h, w).

        Returns:
            Maps in [0, 1], shape (B, 2^d h, 2^d w) with d the doublings, at least float32.

        Raises:
            ValueError: If the features have another number of channels.
        """
        check_channels(features, self.channels)
        features, gradients = widen(features), widen(gradients)
        with full_precision(features.device):
            parts = [
                self.features(scaled(features, (1, 2, 3))),
                self.evidence(scaled(features * gradients, (1, 2, 3))),
                class_evidence(features, gradients),
            ]
            height, width = (side << self.doublings for side in features.shape[-2:])
            scores = self.decoder([torch.cat(parts, dim=1)], (height, width))
            return scores.softmax(dim=1)[:, 1]
