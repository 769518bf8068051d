"""Meaningful perturbations."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.attribution.core.masked import OptimizedMaskMethod, adam
from learned_saliency.attribution.core.method import Query, resize
from learned_saliency.attribution.core.variants import pair_batches
from learned_saliency.ops import blur, full_precision, widen

GAMES = ("deletion", "preservation")
FIRST_MASKS = ("disk", "ones")
_RADII = 35  # circles that are tried, from 0 to 170/224 of the shorter side
_LEFT = 0.01  # share of the score that a circle that is large enough leaves


class MeaningfulPerturbation(OptimizedMaskMethod):
    """Meaningful perturbation (Fong and Vedaldi 2017): the smallest mask that takes the class away.

    Adam minimizes lambda_1 ||1 - m||_1 + lambda_2 sum_u ||grad m(u)||^beta + f_c(x m' + b (1 - m'))
    over m in [0, 1] (Eq. 3, 4; the deletion game). b is the blurred image, m a mask of cells of
    ``scale`` pixels, m' the same in full resolution, enlarged and blurred, and images and b are
    shifted by a few random pixels under the mask in each iteration. The preservation game looks for
    the smallest mask that keeps the class: lambda_1 ||m||_1 + the same variation - f_c. The map is
    1 - m', or m' in the preservation game.

    Numbers are those of the released code: 300 iterations at learning rate 0.1, lambda_1 = 1e-4,
    lambda_2 = 1e-2, beta = 3, cells of 8 pixels blurred with sigma 5, an image blurred with sigma
    10, shifts in [0, 4), the class probability, and as the start the smallest centered disk, of 35,
    that takes 99% of the score away.

    Note:
        * Masks are projected onto [0, 1] after each update and never clamped before the network:
          `torch.clamp` has no gradient at a bound (torch 2.14), and a mask that starts at 1 would
          never move.
        * m' is followed back through its blur, which the released code leaves out of the gradient;
          blurs are of floats, not of 8 bits, and shifts repeat the border of the image, whose size
          stays, where the released code enlarges it by 4 pixels.
        * For scores of a function that are no classes (``outputs`` of `attribution.split`) give
          ``target="logit"``, the score as it is; the weights are made for a probability.

    Args:
        game: ``"deletion"`` or ``"preservation"``.
        area_weight: lambda_1, at least 0.
        variation_weight: lambda_2, at least 0.
        variation_power: beta, at least 2.
        scale: Pixels of a cell of the mask, at least 1.
        mask_blur: Standard deviation of the blur of the full mask in pixels, at least 0.
        image_blur: Standard deviation of the blur of b in pixels, above 0.
        jitter: Number of shifts along each side, at least 1; 1 for none.
        first_mask: ``"disk"``, or ``"ones"``, the whole image.
        seed: Seed of the shifts, which all images share.
        iterations: Updates of each mask, at least 1.
        learning_rate: Learning rate of Adam, above 0.
        target: See `PostHocMethod`.
        **options: See `OptimizedMaskMethod`.

    Raises:
        ValueError: If an option is unknown or out of its range.
    """

    def __init__(
        self,
        *,
        game: str = "deletion",
        area_weight: float = 1e-4,
        variation_weight: float = 1e-2,
        variation_power: float = 3.0,
        scale: int = 8,
        mask_blur: float = 5.0,
        image_blur: float = 10.0,
        jitter: int = 4,
        first_mask: str = "disk",
        seed: int = 0,
        iterations: int = 300,
        learning_rate: float = 0.1,
        target: str = "probability",
        **options: object,
    ) -> None:
        super().__init__(
            iterations=iterations, learning_rate=learning_rate, target=target, **options
        )
        if game not in GAMES:
            raise ValueError(f"game must be one of {GAMES}: {game!r}")
        if first_mask not in FIRST_MASKS:
            raise ValueError(f"first_mask must be one of {FIRST_MASKS}: {first_mask!r}")
        if min(area_weight, variation_weight, mask_blur) < 0 or variation_power < 2:
            raise ValueError(
                "expected area_weight, variation_weight and mask_blur >= 0 and variation_power >= "
                f"2, got {area_weight}, {variation_weight}, {mask_blur} and {variation_power}"
            )
        if scale < 1 or jitter < 1 or not image_blur > 0:
            raise ValueError(
                "expected scale >= 1, jitter >= 1 and image_blur > 0, got "
                f"{scale}, {jitter} and {image_blur}"
            )
        self.game = game
        self.area_weight = area_weight
        self.variation_weight = variation_weight
        self.variation_power = variation_power
        self.scale = scale
        self.mask_blur = mask_blur
        self.image_blur = image_blur
        self.jitter = jitter
        self.first_mask = first_mask
        self.seed = seed

    def _optimize(self, query: Query, tell: Callable[[int], None]) -> Tensor:
        images = widen(query.images)
        blurred, size = blur(images, self.image_blur), images.shape[-2:]
        masks = self._first_masks(query, images, blurred)
        down, across = (enlarging(side, self.scale, self.mask_blur).to(images) for side in size)
        drawn = torch.Generator().manual_seed(self.seed)
        shifts = torch.randint(self.jitter, (self.iterations, 2), generator=drawn).tolist()
        wide = [F.pad(one, self._margins(), mode="replicate") for one in (images, blurred)]
        deletes = self.game == "deletion"

        def full(coarse: Tensor) -> Tensor:
            with full_precision(images.device):
                return down @ coarse @ across.mT

        def loss(coarse: Tensor, step: int) -> Tensor:
            (top, left), (height, width) = shifts[step], size
            image, back = (one[..., top : top + height, left : left + width] for one in wide)
            shown = torch.lerp(back, image, full(coarse)[:, None])
            scores = query.image_scores(shown.to(query.images.dtype)).sum()
            area = (1 - coarse if deletes else coarse).abs().sum()
            variation = total_variation(coarse, self.variation_power).sum()
            rest = self.area_weight * area + self.variation_weight * variation
            return rest + (scores if deletes else -scores)

        masks = full(self._minimize(masks, loss, adam(self.learning_rate), tell))
        return 1 - masks if deletes else masks

    def _margins(self) -> tuple[int, int, int, int]:
        """Compute the pixels that are repeated on either side, so that shifts are centered."""
        before = (self.jitter - 1) // 2
        return (before, self.jitter - 1 - before) * 2

    def _first_masks(self, query: Query, images: Tensor, blurred: Tensor) -> Tensor:
        """Compute where the optimization starts: masks (R, h, w) in [0, 1]."""
        height, width = images.shape[-2:]
        cells = (math.ceil(height / self.scale), math.ceil(width / self.scale))
        if self.first_mask == "ones":
            return images.new_ones(len(images), *cells)
        disks = centered_disks(height, width).to(images)  # (N, H, W)
        scores = []
        for rows, index in pair_batches(len(images), _RADII, self._run_size(images), images.device):
            shown = torch.lerp(images[rows], blurred[rows], disks[index, None])
            scores.append(query.image_scores(shown.to(query.images.dtype), rows))
        scores = torch.cat(scores).view(-1, _RADII)
        before, after = query.score.detach()[:, None], scores[:, -1:]
        enough = (scores - after) / (before - after) < _LEFT  # (R, N)
        enough[:, -1] = True
        smallest = resize(disks[enough.int().argmax(dim=1)], cells, "nearest")
        return 1 - smallest if self.game == "deletion" else smallest


def centered_disks(height: int, width: int) -> Tensor:
    """Compute disks of growing radius around the middle, 1 inside, blurred: (N, H, W)."""
    side = min(height, width) / 224
    y, x = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    distances = (y[:, None] ** 2 + x**2).double().sqrt()
    radii = 5 * side * torch.arange(_RADII)[:, None, None]
    return blur((distances <= radii).double(), 10 * side, cutoff=4)


def enlarging(size: int, scale: int, sigma: float) -> Tensor:
    """Compute the matrix that repeats each cell ``scale`` times and blurs the result.

    Args:
        size: Values wanted; a last cell that reaches beyond is cut.
        scale: Pixels of a cell.
        sigma: Standard deviation of the blur in pixels.

    Returns:
        Weights (size, ceil(size / scale)), at least 0, float64; rows sum to 1.
    """
    repeated = F.one_hot(torch.arange(size) // scale).double()  # (size, cells)
    return blur(repeated.T[:, None], sigma)[:, 0].T


def total_variation(masks: Tensor, power: float) -> Tensor:
    """Compute sum_u ||grad m(u)||^beta by differences to the next row and column.

    Args:
        masks: Shape (R, h, w).
        power: beta, at least 2.

    Returns:
        Shape (R,), at least 0.
    """
    down = F.pad(masks.diff(dim=1), (0, 0, 0, 1))
    across = F.pad(masks.diff(dim=2), (0, 1))
    return (down.square() + across.square()).pow(power / 2).sum(dim=(1, 2))
