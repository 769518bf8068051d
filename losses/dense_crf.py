"""Dense CRF loss, by which pixels close in place and color should get the same map value."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from learned_saliency.ops import CRF_BACKENDS, crf_features, widen

_PIXELS = 2**18  # in a part of a batch, on CPUs


def dense_crf(
    probabilities: Tensor,
    images: Tensor,
    sigma_rgb: float = 15.0,
    sigma_xy: float = 100.0,
    backend: str = "exact",
    diagonal: bool = True,
    max_elements: int = 2**20,
) -> Tensor:
    """Sum the affinities between pixels that take different classes (F-CAM, Eq. B.1).

    The loss of an image is sum_t S_t' W (1 - S_t) with the affinity
    W_ij = exp(-|rgb_i - rgb_j|^2 / (2 sigma_rgb^2) - |xy_i - xy_j|^2 / (2 sigma_xy^2)), a sum over
    pairs: 1e8 to 1e9 at 224 x 224 pixels. Its gradient W 1 - 2 W S_t takes the same pass over W.

    Args:
        probabilities: S, softmax activations of shape (B, T, H, W) in [0, 1]; float64 is computed
            in float64, all else in float32. Differentiable, once.
        images: RGB in 0..255 (neither scaled to [0, 1] nor standardized), shape (B, 3, H, W), any
            dtype. They get no gradient.
        sigma_rgb: Standard deviation of the color difference, in 8-bit levels, above 0.
        sigma_xy: Standard deviation of the distance, in pixels, above 0.
        backend: ``"exact"`` evaluates every pair, in time proportional to (H W)^2, in blocks;
            ``"lattice"`` approximates the sums in time proportional to H W, see
            `ops.permutohedral_filter`. Both have the same scale: on photographs the lattice's value
            differs by at most 10 %, its gradient's cosine to the exact one is 0.99 at least.
        diagonal: Whether the pair of a pixel with itself counts, which adds the entropy-like term
            sum_t S_t' (1 - S_t); True in the paper.
        max_elements: Bound on the numbers held at once, above 0: entries of W (one row at least)
            in ``"exact"``, cells in ``"lattice"``, whose compiled loops hold an image per thread.

    Returns:
        Mean over the batch of the images' sums, a scalar of at least 0 up to rounding.

    Raises:
        TypeError: If ``probabilities`` is not floating point.
        ValueError: If a shape or an option does not fit or the batch is empty; with the lattice
            also if an image is not finite or the sigmas are too small for it.
    """
    _check(probabilities, images)
    _check_positive(sigma_rgb=sigma_rgb, sigma_xy=sigma_xy, max_elements=max_elements)
    _check_backend(backend)
    dtype = torch.promote_types(probabilities.dtype, torch.float32)

    def products(maps: Tensor, images: Tensor) -> Tensor:
        features = crf_features(images.detach().to(dtype), sigma_rgb, sigma_xy)
        return CRF_BACKENDS[backend](maps, features, max_elements)

    return _Disagreement.apply(probabilities.to(dtype), images, products, diagonal).mean()


class _Disagreement(torch.autograd.Function):
    """Function sum_t S_t' W (1 - S_t) per image, (B,), with its gradient from one pass over W."""

    @staticmethod
    def forward(
        ctx: Any,
        probabilities: Tensor,
        images: Tensor,
        products: Callable[[Tensor, Tensor], Tensor],
        diagonal: bool,
    ) -> Tensor:
        gradient, values = probabilities.new_empty(probabilities.shape), []
        parts = (whole.tensor_split(_parts(images)) for whole in (probabilities, images, gradient))
        for maps, pixels, slope in zip(*parts, strict=True):
            maps, slope = maps.flatten(2), slope.flatten(2)  # (b, T, N)
            with torch.autocast(maps.device.type, enabled=False):
                row_sums, filtered = products(maps, pixels).split([1, maps.shape[1]], dim=1)
            if not diagonal:
                row_sums, filtered = row_sums - 1, filtered - maps
            torch.sub(row_sums, filtered, alpha=2, out=slope)
            values.append((maps * (row_sums - filtered)).sum((1, 2)))
        ctx.save_for_backward(gradient)
        return torch.cat(values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad[:, None, None, None] * gradient, None, None, None


def _parts(images: Tensor) -> int:
    """Number of parts into which a batch is split, so that what is computed stays in the caches.

    A part has several images: a product of matrices rounds otherwise for one than for many.
    """
    if images.device.type != "cpu":
        return 1
    size = max(_PIXELS // images[0, 0].numel(), 4 * torch.get_num_threads())
    return max(1, len(images) // size)


class DenseCRFLoss(nn.Module):
    """Weighted dense CRF loss of F-CAM (Eq. B.1, lambda R in Eq. 3), at any image size.

    The loss sums over pairs of pixels, so its size depends on the resolution: with sigma_xy
    growing with the image's side, halving the side leaves the mean affinity of a pair and divides
    the number of pairs by 2^4. A grid of H x W pixels is therefore treated as an image of
    ``reference_size`` squared that is sampled more coarsely or finely:

        sigma_xy -> sigma_xy * sqrt(H W) / reference_size
        weight   -> weight * (reference_size^2 / (H W))^2

    With the defaults the weight is 1.1e-9 at 224 x 224, 3.26e-8 at 96 x 96 and 1.65e-7 at 64 x 64
    pixels, and an image resized from one to the other keeps its loss.

    Args:
        weight: lambda of the paper at the reference size, at least 0. The published 2e-9 goes
            with a lattice of about 0.55 of the Gaussian; for either backend here it is 1.1e-9.
        sigma_rgb: Standard deviation of the color difference, in 8-bit levels, above 0.
        sigma_xy: Standard deviation of the distance in pixels at the reference size, above 0.
        reference_size: Side of the images in pixels that ``weight`` and ``sigma_xy`` are meant
            for, above 0. None takes both as they are, as published, at every size.
        scale: Factor in (0, 1] to both sides of the grid on which the loss is computed; images are
            reduced to it by nearest neighbor, maps bilinearly, and sigma_xy is multiplied by it.
        backend: ``"lattice"`` or ``"exact"``, see :func:`dense_crf`.

    Raises:
        ValueError: If an argument is out of range.

    Note:
        The released code computes -sum_t S_t' W S_t, without the constant sum over W; with a
        softmax over the maps both have the same gradient. With ``reference_size=None`` the loss
        on a reduced grid is smaller by about scale^4, as in that code; otherwise it is not.
    """

    def __init__(
        self,
        weight: float = 1.1e-9,
        sigma_rgb: float = 15.0,
        sigma_xy: float = 100.0,
        reference_size: float | None = 224,
        scale: float = 1.0,
        backend: str = "lattice",
    ) -> None:
        super().__init__()
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"weight must be at least 0 and finite, got {weight}")
        if not (sigma_rgb > 0 and sigma_xy > 0):
            raise ValueError(f"sigmas must be positive, got {sigma_rgb} and {sigma_xy}")
        if reference_size is not None and not reference_size > 0:
            raise ValueError(f"reference_size must be positive or None, got {reference_size}")
        if not 0 < scale <= 1:
            raise ValueError(f"scale must be in (0, 1], got {scale}")
        _check_backend(backend)
        self.weight, self.backend, self.scale = weight, backend, scale
        self.sigma_rgb, self.sigma_xy = sigma_rgb, sigma_xy
        self.reference_size = reference_size

    def forward(self, probabilities: Tensor, images: Tensor) -> Tensor:
        """Compute the weighted loss, a scalar of at least 0 up to rounding.

        Args:
            probabilities: Softmax activations, shape (B, T, H, W) in [0, 1].
            images: RGB in 0..255, shape (B, 3, H, W).

        Raises:
            TypeError: If ``probabilities`` is not floating point.
            ValueError: If a shape does not fit, or the sigmas are too small for the lattice.
        """
        _check(probabilities, images)
        if self.scale < 1:
            size = [max(1, int(side * self.scale)) for side in images.shape[2:]]
            images = nn.functional.interpolate(images.float(), size, mode="nearest")
            probabilities = nn.functional.interpolate(widen(probabilities), size, mode="bilinear")
        weight, sigma_xy = self.weight, self.sigma_xy * self.scale
        if self.reference_size is not None:
            pixels = images.shape[2] * images.shape[3]
            sigma_xy = self.sigma_xy * math.sqrt(pixels) / self.reference_size
            weight = self.weight * (self.reference_size**2 / pixels) ** 2
        loss = dense_crf(probabilities, images, self.sigma_rgb, sigma_xy, self.backend)
        return weight * loss

    def extra_repr(self) -> str:
        """Show the options in ``print(loss)``."""
        names = ("weight", "sigma_rgb", "sigma_xy", "reference_size", "scale", "backend")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


def _check_positive(**options: float) -> None:
    for name, value in options.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite, got {value}")


def _check_backend(backend: str) -> None:
    if backend not in CRF_BACKENDS:
        raise ValueError(f"backend must be one of {sorted(CRF_BACKENDS)}, got {backend!r}")


def _check(probabilities: Tensor, images: Tensor) -> None:
    """Check shapes and dtype of maps and images."""
    if not probabilities.is_floating_point():
        raise TypeError(f"probabilities must be floating point, got {probabilities.dtype}")
    if probabilities.ndim != 4 or 0 in probabilities.shape:
        raise ValueError(
            f"probabilities must be (B, T, H, W) and not empty, got {tuple(probabilities.shape)}"
        )
    batch, _, height, width = probabilities.shape
    if images.shape != (batch, 3, height, width):
        raise ValueError(f"images must be {(batch, 3, height, width)}, got {tuple(images.shape)}")
