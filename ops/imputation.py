"""Imputation of pixels from their neighbors, as one linear system per image."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.ops.precision import full_precision, widen

_STENCIL = ((1.0, 2.0, 1.0), (2.0, 0.0, 2.0), (1.0, 2.0, 1.0))  # over 12: 1/6 beside, 1/12 diagonal
_TRANSFER = (0.25, 0.75, 0.75, 0.25)  # linear interpolation to a grid of half the side
_DAMPING = 0.8  # factor on the steps of the Jacobi iteration that smooths on each grid
_COARSEST = 8  # pixels; the shorter side of the smallest grid
_ITERATIONS = 200  # far more than any image took; 12 at 224 x 224


class _Level(NamedTuple):
    """Grid of the multigrid cycle, all of shape (1, S, H, W).

    Attributes:
        unknown: 1 where a pixel is to be found, else 0.
        total: Sum of the weights of each pixel's neighbors inside the image.
        smooth: Factor on the residual in a step of the damped Jacobi iteration.
    """

    unknown: Tensor
    total: Tensor
    smooth: Tensor


def impute_from_neighbors(images: Tensor, removed: Tensor, *, tolerance: float = 1e-5) -> Tensor:
    """Replace removed pixels so that each is the weighted mean of its neighbors (Rong et al. 2022).

    Neighbors beside a pixel have the weight 1/6, diagonal ones 1/12; at the image border the
    weights of those that exist are scaled to the sum 1. Removed neighbors count with the values
    that they get, so that the values of all removed pixels solve one linear system per image
    ("A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022).

    The systems of all images and channels are solved at once, by conjugate gradients with a
    multigrid cycle as preconditioner, on the images' device.

    Args:
        images: Shape (R, K, H, W), of any floating type.
        removed: Pixels to replace, bool (R, H, W); at least one pixel per image has to stay.
        tolerance: Residual at which a system counts as solved, relative to its right-hand side. At
            1e-5 images of unit variance differ from the exact solution by at most some 1e-4.

    Returns:
        Images of the same shape, at least float32; pixels that were not removed are unchanged.

    Raises:
        TypeError: If ``images`` is not of a floating type, or ``removed`` not of booleans.
        ValueError: If the shapes do not fit, or no pixel of an image stays.
    """
    if not images.is_floating_point() or removed.dtype != torch.bool:
        raise TypeError(f"expected floats and booleans, got {images.dtype}, {removed.dtype}")
    if images.ndim != 4 or removed.shape != images.shape[:1] + images.shape[2:]:
        raise ValueError(
            "expected images (R, K, H, W) and pixels (R, H, W), got "
            f"{tuple(images.shape)} and {tuple(removed.shape)}"
        )
    if bool(removed.flatten(1).all(dim=1).any()):
        raise ValueError("at least one pixel of each image has to stay")
    images = widen(images)
    size = images.shape[-2:]
    factor = 2 ** max(0, (min(size) - 1) // _COARSEST).bit_length()
    padding = (0, -size[1] % factor, 0, -size[0] % factor)
    values = F.pad(images, padding).flatten(0, 1)[None]  # one channel per system: (1, R K, H', W')
    inside = F.pad(images.new_ones(1, 1, *size), padding)
    unknown = F.pad(removed.to(images.dtype), padding).repeat_interleave(images.shape[1], 0)[None]
    with full_precision(images.device):
        solved = _solve(values, unknown, inside, factor, tolerance)
    filled = torch.where(unknown > 0, solved, values)[..., : size[0], : size[1]]
    return filled.view_as(images)


def _solve(
    values: Tensor, unknown: Tensor, inside: Tensor, factor: int, tolerance: float
) -> Tensor:
    """Solve all systems, each until its own residual is small."""
    levels = _levels(unknown, inside, factor)
    known = values * (inside - unknown)
    found = unknown * (known.sum((2, 3)) / (inside - unknown).sum((2, 3)))[..., None, None]
    right = unknown * _neighbors(known)
    residual = _rest(right, found, levels[0])
    limit = tolerance * right.square().sum((2, 3)).sqrt()
    direction = correction = _cycle(residual, levels)
    product = (residual * correction).sum((2, 3))
    for _ in range(_ITERATIONS):
        active = residual.square().sum((2, 3)).sqrt() > limit
        if not active.any():
            break
        image = -_rest(torch.zeros_like(direction), direction, levels[0])
        step = _quotient(product, (direction * image).sum((2, 3)), active)
        found.addcmul_(step, direction)
        residual = residual.addcmul(step, image, value=-1)
        correction = _cycle(residual, levels)
        previous, product = product, (residual * correction).sum((2, 3))
        direction = correction + _quotient(product, previous, active) * direction
    return found


def _quotient(numerator: Tensor, denominator: Tensor, active: Tensor) -> Tensor:
    """Divide (1, S) for the systems that are not solved yet; 0 for others, shape (1, S, 1, 1)."""
    valid = active & (denominator > 0)
    ratio = numerator / torch.where(valid, denominator, 1.0)
    return torch.where(valid, ratio, 0.0)[..., None, None]


def _levels(unknown: Tensor, inside: Tensor, factor: int) -> list[_Level]:
    """Build the grids, fine to coarse; a coarse pixel is unknown where all of its parts are."""
    levels = []
    while True:
        total = _neighbors(inside).clamp(min=_STENCIL[0][0] / 12)
        levels.append(_Level(unknown, total, _DAMPING * unknown / total))
        if factor == 1:
            return levels
        unknown, inside = -F.max_pool2d(-unknown, 2), F.max_pool2d(inside, 2)
        factor //= 2


def _neighbors(values: Tensor) -> Tensor:
    """Sum the weighted neighbors of each pixel; (1, S, H, W) to the same shape."""
    kernel = values.new_tensor(_STENCIL) / 12
    systems = values.shape[1]
    return F.conv2d(values, kernel.expand(systems, 1, 3, 3), padding=1, groups=systems)


def _rest(residual: Tensor, values: Tensor, level: _Level) -> Tensor:
    """Subtract the linear system of a grid, applied to values that are 0 where nothing is found."""
    rest = torch.addcmul(residual, level.total, values, value=-1)
    return rest.addcmul_(level.unknown, _neighbors(values))


def _cycle(residual: Tensor, levels: list[_Level]) -> Tensor:
    """Solve for a residual roughly: smooth, correct by the coarser grids, smooth."""
    level = levels[0]
    found = level.smooth * residual
    if len(levels) == 1:
        for _ in range(_COARSEST):
            found.addcmul_(level.smooth, _rest(residual, found, level))
        return found
    found.addcmul_(level.smooth, _rest(residual, found, level))
    kernel = residual.new_tensor(_TRANSFER)
    systems = residual.shape[1]
    kernel = torch.outer(kernel, kernel).expand(systems, 1, 4, 4)
    options = {"stride": 2, "padding": 1, "groups": systems}
    rest = F.conv2d(_rest(residual, found, level), kernel, **options)
    coarse = _cycle(rest.mul_(levels[1].unknown), levels[1:])
    found.addcmul_(level.unknown, F.conv_transpose2d(coarse, kernel, **options))
    for _ in range(2):
        found.addcmul_(level.smooth, _rest(residual, found, level))
    return found
