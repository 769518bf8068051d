"""Objective of Real Time Image Saliency, and the images that its masks are mixed with."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from learned_saliency.ops import Activation, blur, widen


class RTISLossTerms(NamedTuple):
    """Scalars of one batch, each with its weight."""

    total: Tensor
    smoothness: Tensor
    area: Tensor
    preserved: Tensor
    destroyed: Tensor
    filter: Tensor

    def parts(self) -> dict[str, Tensor]:
        """Return the terms by name, without the total that they add up to."""
        return {name: value for name, value in self._asdict().items() if name != "total"}


class RTISLoss(nn.Module):
    """Objective of a mask M for a class c (Dabkowski and Gal, NeurIPS 2017, Eq. 3).

    ``smoothness_weight`` TV(M) + ``area_weight`` AV(M) - log f_c(Phi(X, M)) + ``destroyed_weight``
    f_c(Phi(X, 1 - M)) ** ``destroyed_power``, the mean over the images of a batch. An image for
    which the network was asked for a class that it does not show, a fake one, has the area term
    alone. So its mask ought to be empty, and the network cannot pass over the class.

    To these comes the paper's help for the vectors of the classes, the cross-entropy of the feature
    filter's largest score: it has to be high for a true class and low for a fake one. The released
    code trains the vectors by their mean score, in a phase of its own before the rest.

    Departure: others name 10 for the paper's lambda_1 and 0.001 for its lambda_2. With a mean of
    the mask that makes the whole image about the cheapest mask; here the two stand the other way
    around, near the released code's 0.0025 and 8 (of the mean of M ** 0.3).

    Args:
        smoothness_weight: lambda_1 of the total variation, a sum over pixels, at least 0.
        area_weight: lambda_2 of the mean of the mask, at least 0.
        destroyed_weight: lambda_3 of the class's probability outside of the mask, at least 0.
        destroyed_power: lambda_4, the power of that probability, in (0, 1]: the smaller, the more
            counts what is left of a small probability.
        filter_weight: Weight of the feature filter's cross-entropy, at least 0.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        smoothness_weight: float = 1e-3,
        area_weight: float = 10.0,
        destroyed_weight: float = 5.0,
        destroyed_power: float = 0.3,
        filter_weight: float = 1.0,
    ) -> None:
        super().__init__()
        weights = smoothness_weight, area_weight, destroyed_weight, filter_weight
        if not all(weight >= 0 for weight in weights) or not 0 < destroyed_power <= 1:
            raise ValueError(
                "weights must be at least 0 and destroyed_power in (0, 1], "
                f"got {weights} and {destroyed_power}"
            )
        self.smoothness_weight = smoothness_weight
        self.area_weight = area_weight
        self.destroyed_weight = destroyed_weight
        self.destroyed_power = destroyed_power
        self.filter_weight = filter_weight

    def forward(
        self,
        masks: Tensor,
        presence: Tensor,
        real: Tensor,
        preserved: Tensor,
        destroyed: Tensor,
        targets: Tensor,
        activation: Activation = Activation.SOFTMAX,
    ) -> RTISLossTerms:
        """Compute the terms of a batch of B images, of which R have a real class.

        Args:
            masks: M, shape (B, H, W) in [0, 1].
            presence: Largest score of the feature filter, shape (B,).
            real: Rows of the images with a real class, int64 (R,).
            preserved: Logits of Phi(X, M), shape (R, C).
            destroyed: Logits of Phi(X, 1 - M), shape (R, C).
            targets: Classes c of the real rows, int64 (R,).
            activation: Function of the logits to f.
        """
        images = len(masks)
        is_real = torch.zeros_like(presence).index_fill(0, real, 1.0)
        smoothness = total_variation(masks[real]).sum() / images
        found = functional.binary_cross_entropy_with_logits(widen(presence), widen(is_real))
        kept = preservation(preserved, targets, activation).sum() / images
        power = self.destroyed_power
        left = destruction(destroyed, targets, power, activation).sum() / images
        terms = (
            self.smoothness_weight * smoothness,
            self.area_weight * widen(masks).mean(),
            kept,
            self.destroyed_weight * left,
            self.filter_weight * found,
        )
        return RTISLossTerms(sum(terms), *terms)


def total_variation(masks: Tensor) -> Tensor:
    """Sum the squared differences of neighboring pixels, TV(M) (Eq. 4).

    A sum, not a mean: twice the side, the same mask has twice as many pixels along its edges and
    half the slope at each of them, so that the sum keeps its value and lambda_1 its meaning.

    Args:
        masks: Shape (B, H, W).

    Returns:
        One value per mask, shape (B,), at least float32.
    """
    masks = widen(masks)
    rows, columns = masks.diff(dim=1), masks.diff(dim=2)
    return rows.square().sum((1, 2)) + columns.square().sum((1, 2))


def preservation(
    logits: Tensor, targets: Tensor, activation: Activation = Activation.SOFTMAX
) -> Tensor:
    """Compute -log f_c of images that keep what the mask shows, shape (R,), at least float32."""
    return -activation.log_probabilities(logits).gather(1, targets[:, None])[:, 0]


def destruction(
    logits: Tensor,
    targets: Tensor,
    power: float,
    activation: Activation = Activation.SOFTMAX,
) -> Tensor:
    """Compute f_c ** power of images that lose what the mask shows, shape (R,), at least float32.

    Its gradient by the logits is finite, however small the probability is.
    """
    return (-power * preservation(logits, targets, activation)).exp()


class AlternativeImages:
    """Images A that take the place of what a mask hides, Phi(X, M) = X M + A (1 - M) (Eq. 2).

    They are drawn anew at every call, so that the network cannot adapt to one way of hiding: the
    blurred image, or one random color with Gaussian noise, each image on its own.

    The shares, the range of the colors and the noise are the released code's, which also adds noise
    of 0.015 to the image itself, blurs by 11 pixels and takes what lies beyond the border for
    mid-gray.

    Args:
        blur_probability: Probability of the blurred image, in [0, 1].
        blur_sigma: Standard deviation of its Gaussian, in pixels at ``reference_size``, above 0.
        color_range: Difference of the brightest and the darkest of the random colors, which lie
            evenly around mid-gray, of 1 between black and white; at least 0.
        noise_std: Standard deviation of their noise, of 1 between black and white; at least 0.
        reference_size: Side of images in pixels for which ``blur_sigma`` is meant, above 0; at
            other sizes the blur grows with the square root of the number of pixels.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        blur_probability: float = 0.5,
        blur_sigma: float = 10.0,
        color_range: float = 0.33,
        noise_std: float = 0.055,
        reference_size: float = 224,
    ) -> None:
        if not 0 <= blur_probability <= 1:
            raise ValueError(f"blur_probability must be in [0, 1], got {blur_probability}")
        if not min(blur_sigma, reference_size) > 0 or not min(color_range, noise_std) >= 0:
            raise ValueError(
                "blur_sigma and reference_size must be above 0, color_range and noise_std at least "
                f"0, got {blur_sigma}, {reference_size}, {color_range} and {noise_std}"
            )
        self.blur_probability = blur_probability
        self.blur_sigma = blur_sigma
        self.color_range = color_range
        self.noise_std = noise_std
        self.reference_size = reference_size

    def __call__(self, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Draw an image for each image, from torch's global generator.

        Args:
            images: Normalized images of shape (B, C, H, W).
            mean: Mean that they were normalized with, of 1 between black and white, (C, 1, 1).
            std: Standard deviation, likewise.

        Returns:
            Normalized images of the same shape.
        """
        shape = (len(images), 1, 1, 1)
        draw = {"device": images.device, "dtype": images.dtype}
        colors = 0.5 + self.color_range * (torch.rand(*images.shape[:2], 1, 1, **draw) - 0.5)
        noisy = colors + self.noise_std * torch.randn(images.shape, **draw)
        side = math.sqrt(images.shape[-2] * images.shape[-1])
        blurred = blur(images, self.blur_sigma * side / self.reference_size)
        return torch.where(
            torch.rand(shape, **draw) < self.blur_probability, blurred, (noisy - mean) / std
        )
