from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.metrics.checks import constant_maps
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import black_level, check_maps, check_targets, predict
from learned_saliency.ops import full_precision

_STARTS = ("blur", "zero")


def insertion_curves(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 224,
    start: str = "blur",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    probabilities: bool = False,
    batch_size: int = 64,
) -> Tensor:
    """Measure the class probability while the most salient pixels are put in, step by step.

    Two definitions: paper 000's (App. B.1) has 224 steps (of 224 pixels, in images of 224 x 224)
    and a blurred image to start from, the defaults; paper 002's (Sec. 4.3.2) has ``steps=40``
    (delta from 0 to 1 by 0.025) and ``start="zero"``.

    After step t the round(t H W / steps) most salient pixels are in, pixels of equal saliency in
    reading order. A constant map puts none before another: its curve stays at its first value.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Shape (B, 3, H, W), as the model takes them.
        saliency: Maps (B, H, W) in [0, 1]; only the order of a map's values counts.
        targets: Classes, int (B,); default: the predicted ones, as in both papers' code.
        steps: Number of steps, at least 1.
        start: Pixels before they are put in: ``"blur"``, the image under a Gaussian of 11 x 11
            pixels and sigma 5 pixels, its border replicated; or ``"zero"``.
        mean: With ``std``, the values that ``images`` were normalized with; then "zero" is black.
            Without them, "zero" is 0 in the given images. See `metrics.masked_probabilities`.
        std: See ``mean``; above 0.
        probabilities: Whether ``model`` gives probabilities instead of logits.
        batch_size: Most images per call of the model, at least 1.

    Returns:
        Probabilities of each image's class, shape (B, steps + 1), from no pixel to all.

    Raises:
        TypeError: If images, maps or targets are of the wrong type.
        ValueError: If shapes do not fit, a map leaves [0, 1], a class does not exist, an option is
            unknown or out of range, or the model is in training mode.
    """
    if start not in _STARTS:
        raise ValueError(f"start must be one of {_STARTS}, got {start!r}")
    check_maps(images, saliency)
    zero = black_level(images, mean, std).expand_as(images)
    ends = (blur(images) if start == "blur" else zero, images)
    return _curves(model, images, ends, saliency, targets, steps, probabilities, batch_size)


def deletion_curves(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor | None = None,
    *,
    steps: int = 224,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    probabilities: bool = False,
    batch_size: int = 64,
) -> Tensor:
    """Measure the class probability while the most salient pixels are set to zero, step by step.

    Paper 000's definition (App. B.1) has 224 steps, the default, paper 002's ``steps=40``. A
    constant map takes no pixel out before another: its curve stays at its first value.

    Args:
        model: See `insertion_curves`, as for the other arguments and the errors.
        images: Shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1].
        targets: Int (B,), or None.
        steps: Number of steps, at least 1.
        mean: One value per color channel, or None.
        std: One value per color channel, or None.
        probabilities: Whether ``model`` gives probabilities.
        batch_size: Most images per call of the model.

    Returns:
        Probabilities, shape (B, steps + 1), from all pixels to none.
    """
    check_maps(images, saliency)
    zero = black_level(images, mean, std).expand_as(images)
    options = (steps, probabilities, batch_size)
    return _curves(model, images, (images, zero), saliency, targets, *options)


def area_under_curves(curves: Tensor) -> Tensor:
    """Compute the area under each curve over [0, 1] by the trapezoidal rule.

    Args:
        curves: Shape (B, T) with T of at least 2 equidistant points.

    Returns:
        Areas, float64 (B,), in the unit of the curves.

    Raises:
        TypeError: If ``curves`` is not of a floating type.
        ValueError: If ``curves`` is not (B, T) with T of at least 2.
    """
    if not curves.is_floating_point():
        raise TypeError(f"curves must be of a floating type, got {curves.dtype}")
    if curves.dim() != 2 or curves.shape[1] < 2:
        raise ValueError(f"expected curves (B, T) with T > 1, got {tuple(curves.shape)}")
    return torch.trapezoid(curves.detach().double(), dx=1 / (curves.shape[1] - 1), dim=1)


class _AreaUnderCurve(ImageMean):
    def update(self, curves: Tensor) -> None:
        """Add a batch.

        Args:
            curves: Probabilities (B, T) in [0, 1], from `insertion_curves` or `deletion_curves`.

        Raises:
            TypeError: If ``curves`` is not of a floating type.
            ValueError: If ``curves`` is not (B, T) with T of at least 2.
        """
        self._add(area_under_curves(curves))


class Insertion(_AreaUnderCurve):
    """Mean area under the insertion curves (paper 000, App. B.1; paper 002, Sec. 4.3.2)."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"insertion": Figure(True)}


class Deletion(_AreaUnderCurve):
    """Mean area under the deletion curves (paper 000, App. B.1; paper 002, Sec. 4.3.2)."""

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {"deletion": Figure(False)}


def blur(images: Tensor, size: int = 11, sigma: float = 5.0) -> Tensor:
    """Blur with a Gaussian cut off at ``size`` pixels, of sum 1, the border replicated.

    Args:
        images: Shape (B, 3, H, W).
        size: Width of the kernel in pixels, odd.
        sigma: Standard deviation in pixels, above 0.

    Returns:
        Images of the same shape.
    """
    distances = torch.arange(size, device=images.device, dtype=images.dtype) - size // 2
    kernel = (-0.5 * (distances / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, size)
    padded = F.pad(images, (size // 2,) * 4, mode="replicate")
    with full_precision(images.device):
        rows = F.conv2d(padded, kernel, groups=images.shape[1])
        return F.conv2d(rows, kernel.mT, groups=images.shape[1])


def _curves(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    versions: tuple[Tensor, Tensor],
    saliency: Tensor,
    targets: Tensor | None,
    steps: int,
    probabilities: bool,
    batch_size: int,
) -> Tensor:
    """Measure (B, steps + 1) while one version (B, 3, H, W) replaces the other pixel by pixel."""
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be at least 1, got {steps}, {batch_size}")
    rows = torch.arange(len(images), device=images.device)
    classes = predict(model, images, probabilities, batch_size, rows)
    targets = check_targets(targets, classes)
    curves = classes.new_empty(len(images), steps + 1)
    for image, step, altered in _altered(versions, saliency, steps, batch_size):
        found = predict(model, altered, probabilities, rows=image)
        curves[image, step] = found.gather(1, targets[image, None])[:, 0]
    return torch.where(constant_maps(saliency)[:, None], curves[:, :1], curves)


def _altered(
    versions: tuple[Tensor, Tensor], saliency: Tensor, steps: int, batch_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield images, steps (R,) and altered images (R, 3, H, W), at most ``batch_size`` at once."""
    before, after = versions
    batch, pixels = len(saliency), saliency[0].numel()
    order = saliency.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1).view_as(saliency)  # 0 for the most salient pixel
    counts = (2 * torch.arange(steps + 1, device=ranks.device) * pixels + steps) // (2 * steps)
    for rows in torch.arange(batch * (steps + 1), device=ranks.device).split(batch_size):
        image, step = torch.unravel_index(rows, (batch, steps + 1))
        changed = ranks[image] < counts[step][:, None, None]  # (R, H, W)
        yield image, step, torch.where(changed[:, None], after[image], before[image])
