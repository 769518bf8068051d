"""Extremal perturbations."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from learned_saliency.attribution.core.masked import OptimizedMaskMethod, momentum
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.smoothing import SmoothMaximum
from learned_saliency.ops import blur, full_precision, widen

VARIANTS = ("preserve", "delete", "dual")
PERTURBATIONS = ("blur", "fade")
_MOMENTUM = 0.9
_AREA_WEIGHT, _GROWTH = 300.0, 1.0035  # lambda of the area, and its factor per iteration


class ExtremalPerturbation(OptimizedMaskMethod):
    """Extremal perturbation (Fong, Patrick and Vedaldi 2019): the best mask of a given area.

    m = argmax f_c(m * x) over smooth masks whose area is a share a of the image (Sec. 3). The area
    is a penalty that orders the mask's values, lambda ||vecsort(m) - r_a||^2 with r_a of (1 - a)n
    zeros and a n ones (Sec. 3.1), whose weight grows while gradient descent with momentum runs. m
    * x takes each pixel from a pyramid of ever more blurred images, at the place m between the
    blurred and the whole one (Sec. 3.2), and masks are smooth maxima of coarse ones, see
    `attribution.core.smoothing` (Sec. 3.3). The map is the mean of the masks of all areas.

    Numbers are those of the released code (TorchRay): 800 iterations at learning rate 0.01 and
    momentum 0.9 from a mask of ones, lambda = 300 * 1.0035^t as a mean over the pixels and the
    margin, mirrored images in every second iteration, the logit as score.

    Note:
        * A coarse mask gets its gradient also where it is exactly 0 or 1; torch's `clamp`, which
          the released code applies to the smooth mask, has none there (torch 2.14). Likewise
          the pyramid has its slope at the whole image, where the released code has none, which
          changes ``"delete"`` and ``"dual"``.
        * The result is the mask after the last update, not before it.
        * With several areas the released benchmark sums the masks and blurs them with 9% of the
          shorter side: ``areas=[0.025,0.05,0.1,0.2]``, ``smooth=0.09``.

    Args:
        areas: Shares of the image, each in (0, 1); a run for each.
        variant: ``"preserve"`` the class in the masked image, ``"delete"`` it from the rest, or
            ``"dual"``, f_c(m * x) - f_c((1 - m) * x), the paper's hybrid, at twice the cost.
        perturbation: ``"blur"``, or ``"fade"`` to 0, the mean color of normalized images.
        max_blur: Standard deviation of the strongest blur in pixels, above 0.
        levels: Levels of the pyramid, at least 2.
        step: Pixels from one cell of the coarse mask to the next, at least 1.
        sigma: Radius of the smooth kernel in pixels, above 0.
        smooth: Standard deviation of a blur of the map, as a share of the shorter side, at least 0.
        flip: Whether every second iteration sees mirrored images.
        iterations: Updates of each mask, at least 1.
        learning_rate: Learning rate, above 0.
        **options: See `OptimizedMaskMethod`.

    Raises:
        ValueError: If an option is unknown or out of its range.
    """

    def __init__(
        self,
        *,
        areas: Sequence[float] = (0.1,),
        variant: str = "preserve",
        perturbation: str = "blur",
        max_blur: float = 20.0,
        levels: int = 8,
        step: int = 7,
        sigma: float = 21.0,
        smooth: float = 0.0,
        flip: bool = True,
        iterations: int = 800,
        learning_rate: float = 0.01,
        **options: object,
    ) -> None:
        super().__init__(iterations=iterations, learning_rate=learning_rate, **options)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {VARIANTS}: {variant!r}")
        if perturbation not in PERTURBATIONS:
            raise ValueError(f"perturbation must be one of {PERTURBATIONS}: {perturbation!r}")
        areas = [float(area) for area in areas]
        if not areas or not all(0 < area < 1 for area in areas):
            raise ValueError(f"areas must be shares in (0, 1), at least one, got {areas}")
        if not (max_blur > 0 and levels >= 2 and step >= 1 and sigma > 0 and smooth >= 0):
            raise ValueError(
                "expected max_blur > 0, levels >= 2, step >= 1, sigma > 0 and smooth >= 0, got "
                f"{max_blur}, {levels}, {step}, {sigma} and {smooth}"
            )
        self.areas = areas
        self.variant = variant
        self.perturbation = perturbation
        self.max_blur = max_blur
        self.levels = levels
        self.step = step
        self.sigma = sigma
        self.smooth = smooth
        self.flip = flip
        self.runs_per_mask = len(areas) * (2 if variant == "dual" else 1)

    def _optimize(self, query: Query, tell: Callable[[int], None]) -> Tensor:
        images, count = query.images, len(self.areas)
        smoothing = SmoothMaximum(images.shape[-2:], self.step, self.sigma)
        rows = torch.arange(len(images), device=images.device).repeat_interleave(count)
        pyramid = self._pyramid(widen(images))[rows]  # (R * A, L, 3, H, W)

        def loss(coarse: Tensor, step: int) -> Tensor:
            with full_precision(images.device):
                masks, whole = smoothing(coarse)
                shown = {"preserve": [masks], "delete": [1 - masks], "dual": [masks, 1 - masks]}
                seen = torch.cat([blended(pyramid, one) for one in shown[self.variant]])
                area = _AREA_WEIGHT * _GROWTH**step * self._area_penalty(whole)
            seen = seen.flip(3) if self.flip and step % 2 == 0 else seen
            scores = query.image_scores(seen.to(images.dtype), rows.repeat(len(seen) // len(rows)))
            kept, *deleted = scores.split(len(rows))
            sign = -1 if self.variant == "delete" else 1
            return area - (sign * kept - sum(deleted)).sum()

        coarse = pyramid.new_ones(len(rows), *smoothing.cells)
        coarse = self._minimize(coarse, loss, momentum(self.learning_rate, _MOMENTUM), tell)
        masks = smoothing(coarse)[0].unflatten(0, (-1, count)).mean(1)
        width = self.smooth * min(masks.shape[1:])
        return blur(masks, width, cutoff=4, padding="constant")

    def _pyramid(self, images: Tensor) -> Tensor:
        """Compute the perturbed images (R, L, 3, H, W), from the most perturbed to the whole."""
        shares = [level / (self.levels - 1) for level in range(self.levels)]
        if self.perturbation == "fade":
            return torch.stack([share * images for share in shares], dim=1)
        widths = [(1 - share) * self.max_blur for share in shares]
        kinds = {"cutoff": 4, "padding": "constant"}
        return torch.stack([blur(images, width, **kinds) for width in widths], dim=1)

    def _area_penalty(self, masks: Tensor) -> Tensor:
        """Compute sum_m mean (vecsort(m) - r_a)^2 of masks (R * A, H', W'), a scalar."""
        of_areas = masks.flatten(1).unflatten(0, (-1, len(self.areas)))  # (R, A, n)
        number, total = of_areas.shape[2], 0.0
        for values, area in zip(of_areas.unbind(1), self.areas, strict=True):
            wanted = largest(values.detach(), number - int(number * (1 - area)))
            total = total + (values - wanted).square().mean(dim=1).sum()
        return total


def largest(values: Tensor, count: int) -> Tensor:
    """Find the largest values of each row, as sorting does it that keeps the order of equal ones.

    Args:
        values: Shape (R, n).
        count: How many, in [1, n]; of equal values the last are taken.

    Returns:
        1 for the largest and 0 for the rest, shape (R, n), of the type of ``values``.
    """
    least = values.kthvalue(values.shape[1] - count + 1, dim=1, keepdim=True).values
    above, equal = values > least, values == least
    missing = count - above.sum(dim=1, keepdim=True)
    after = equal.flip(1).cumsum(1).flip(1)  # equal values from here on
    return (above | (equal & (after <= missing))).to(values.dtype)


def blended(pyramid: Tensor, masks: Tensor) -> Tensor:
    """Look up each pixel in a pyramid, linearly between its levels.

    Args:
        pyramid: Shape (R, L, 3, H, W), from the most perturbed to the whole images.
        masks: Shape (R, H, W), in [0, 1].

    Returns:
        Images (R, 3, H, W).
    """
    places = masks[:, None] * (pyramid.shape[1] - 1)  # (R, 1, H, W)
    levels = places.detach().floor().clamp(max=pyramid.shape[1] - 2)
    index = levels.long()[:, None].expand(-1, 1, *pyramid.shape[2:])
    low, high = (pyramid.gather(1, index + more)[:, 0] for more in (0, 1))
    return low + (places - levels) * (high - low)
