from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import black_level, check_length, check_maps, predict_variants

_PART = 4  # a square's side is this part of the image's shorter side


class RemovedSquares(NamedTuple):
    """Squares of an image that were removed, one after the other.

    Attributes:
        mass: Sum of the map within each square, float64 (B, N).
        drop: Fall of the class probability when the square is removed, float64 (B, N).
    """

    mass: Tensor
    drop: Tensor


def remove_squares(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor,
    clean: Tensor,
    *,
    generators: Sequence[torch.Generator],
    samples: int = 64,
    side: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 64,
) -> RemovedSquares:
    """Remove random squares and measure what the map and the classifier say of them.

    The square removal of Yeh et al. (NeurIPS 2019): the perturbation I is 1 within a square of
    fixed size at a uniformly drawn place wholly inside the image, and 0 elsewhere.

    Args:
        model: See `insertion_curves`, as for the other arguments and the errors.
        images: Shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1].
        targets: Classes, int (B,).
        clean: Probability of each image's class on the whole image, (B,).
        generators: A generator on the CPU per image, from which its places are drawn.
        samples: Number of squares N, at least 1; each costs one pass.
        side: Side of the squares in pixels, in [1, min(H, W)]; default: a quarter of the latter.
        mean: One value per color channel, or None.
        std: One value per color channel, or None.
        batch_size: Most images per call of the model.

    Returns:
        Masses and drops (B, N).
    """
    check_maps(images, saliency)
    check_length(targets, images)
    side = max(1, min(images.shape[-2:]) // _PART) if side is None else side
    _check_options(images, generators, samples, side)
    black = black_level(images, mean, std)
    corners = _draw_corners(generators, samples, side, images)  # (B, N, 2)
    rows = torch.arange(len(images), device=images.device).repeat_interleave(samples)

    def vary(part: Tensor) -> Tensor:
        inside = _square(corners.flatten(0, 1)[part], side, images.shape[-2:])[:, None]
        return torch.where(inside, black, images[rows[part]])

    found = predict_variants(model, vary, rows, targets, batch_size=batch_size)
    drops = clean[:, None].double() - found.view(len(images), samples).double()
    return RemovedSquares(_mass(saliency, corners, side), drops)


def infidelity(found: RemovedSquares) -> Tensor:
    """Compute each map's infidelity, the mean of (beta I Phi - (f(x) - f(x - I)))^2.

    Yeh et al. (NeurIPS 2019), Definition 2.1, with the factor beta of their released code, which is
    the best for each map, so that the scale of a map does not count: a map of zeros has the largest
    value that any map of the image can have, the mean of (f(x) - f(x - I))^2. Without beta it would
    have the smallest of most.

    Args:
        found: From `remove_squares`.

    Returns:
        Float64 (B,), at least 0.

    Raises:
        ValueError: If the two are not (B, N) with N of at least 1.
    """
    mass, drop = found
    if mass.dim() != 2 or mass.shape != drop.shape or mass.shape[1] < 1:
        raise ValueError(f"expected (B, N) twice, got {tuple(mass.shape)}, {tuple(drop.shape)}")
    mass, drop = mass.detach().double(), drop.detach().double()
    square = mass.square().sum(dim=1)
    beta = (mass * drop).sum(dim=1) / torch.where(square > 0, square, 1.0)
    return (beta[:, None] * mass - drop).square().mean(dim=1)


class Infidelity(ImageMean):
    """Mean infidelity under the removal of squares (Yeh et al., NeurIPS 2019)."""

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {"infidelity": Figure(False)}

    def update(self, found: RemovedSquares) -> None:
        """Add a batch; see `infidelity` for arguments and errors."""
        self._add(infidelity(found))


def _check_options(
    images: Tensor,
    generators: Sequence[torch.Generator],
    samples: int,
    side: int,
) -> None:
    if len(generators) != len(images):
        raise ValueError(f"expected {len(images)} generators, got {len(generators)}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not 1 <= side <= min(images.shape[-2:]):
        raise ValueError(f"side must be in [1, {min(images.shape[-2:])}], got {side}")


def _draw_corners(
    generators: Sequence[torch.Generator], samples: int, side: int, images: Tensor
) -> Tensor:
    """Draw the upper left corners of squares, row and column, int64 (B, N, 2)."""
    last = torch.tensor(images.shape[-2:]) - side
    drawn = torch.stack([torch.rand(samples, 2, generator=g) for g in generators])
    return (drawn * (last + 1)).long().minimum(last).to(images.device)


def _square(corners: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Mark the pixels of squares (R, 2), bool (R, H, W)."""
    rows, columns = (torch.arange(n, device=corners.device) for n in size)
    below = rows - corners[:, :1]  # (R, H)
    right = columns - corners[:, 1:]
    return ((below >= 0) & (below < side))[:, :, None] & ((right >= 0) & (right < side))[:, None]


def _mass(saliency: Tensor, corners: Tensor, side: int) -> Tensor:
    """Sum the maps within squares (B, N, 2), float64 (B, N)."""
    sums = saliency.detach().double()[:, None]
    sums = F.avg_pool2d(sums, side, stride=1)[:, 0] * side**2
    places = corners[..., 0] * sums.shape[-1] + corners[..., 1]
    return sums.flatten(1).gather(1, places)
