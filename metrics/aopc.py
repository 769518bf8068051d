from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.metrics.checks import constant_maps
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import black_level, check_length, check_maps, predict_variants

_PATCH = 14  # paper 000's, in images of 224 x 224
_SIDE = 224


def region_curves(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor,
    *,
    regions: int = 10,
    patch: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Measure the class probability while the most salient patches are removed, one after another.

    The image is cut into a grid of square patches, which go in the order of the map's sums, equal
    ones in reading order (Samek et al. 2017). Paper 000 (App. B.2) removes 10 patches of 14 x 14
    pixels, as Quantus does it. A constant map puts no patch before another: its curve stays at its
    first value.

    Args:
        model: See `insertion_curves`, as for the other arguments and the errors.
        images: Shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1].
        targets: Classes, int (B,).
        regions: Number of patches L, at least 1; where there are fewer, all go.
        patch: Side of a patch in pixels, at least 1; default: 14 of 224 pixels, in proportion to
            the shorter side.
        mean: One value per color channel, or None.
        std: One value per color channel, or None.
        batch_size: Most images per call of the model.

    Returns:
        Probabilities, shape (B, L + 1), from the whole image to all patches removed.
    """
    check_maps(images, saliency)
    check_length(targets, images)
    patch = max(1, round(_PATCH * min(images.shape[-2:]) / _SIDE)) if patch is None else patch
    if regions < 1 or patch < 1:
        raise ValueError(f"regions and patch must be at least 1, got {regions} and {patch}")
    removed = _removed_regions(saliency, regions, patch).flatten(0, 1)
    black = black_level(images, mean, std)
    rows = torch.arange(len(images), device=images.device).repeat_interleave(regions + 1)

    def vary(part: Tensor) -> Tensor:
        return torch.where(removed[part][:, None], black, images[rows[part]])

    found = predict_variants(model, vary, rows, targets, batch_size=batch_size)
    curves = found.view(len(images), regions + 1)
    return torch.where(constant_maps(saliency)[:, None], curves[:, :1], curves)


def area_over_curves(curves: Tensor) -> Tensor:
    """Compute the area over each perturbation curve (Samek et al. 2017).

    Args:
        curves: Probabilities f_0 ... f_L of each image, (B, L + 1), from `region_curves`.

    Returns:
        The mean over k = 0 ... L of f_0 - f_k, float64 (B,), in [-1, 1].

    Raises:
        TypeError: If ``curves`` is not of a floating type.
        ValueError: If ``curves`` is not (B, T) with T of at least 2.
    """
    if not curves.is_floating_point():
        raise TypeError(f"curves must be of a floating type, got {curves.dtype}")
    if curves.dim() != 2 or curves.shape[1] < 2:
        raise ValueError(f"expected curves (B, T) with T > 1, got {tuple(curves.shape)}")
    curves = curves.detach().double()
    return (curves[:, :1] - curves).mean(dim=1)


class AOPC(ImageMean):
    """Mean area over the perturbation curve (Samek et al. 2017; paper 000, App. B.2).

    A constant map has 0.
    """

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"aopc": Figure(True, short="AOPC")}

    def update(self, curves: Tensor) -> None:
        """Add a batch; see `area_over_curves` for arguments and errors."""
        self._add(area_over_curves(curves))


def _removed_regions(saliency: Tensor, regions: int, patch: int) -> Tensor:
    """Find the pixels that are gone after each step, none at first, bool (B, L + 1, H, W)."""
    height, width = saliency.shape[-2:]
    padded = F.pad(saliency.detach().double(), (0, -width % patch, 0, -height % patch))
    sums = F.avg_pool2d(padded[:, None], patch)[:, 0]
    order = sums.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1).view_as(sums)  # 0 for the most salient patch
    steps = torch.arange(regions + 1, device=saliency.device)[:, None, None]
    gone = ranks[:, None] < steps
    gone = gone.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
    return gone[..., :height, :width]
