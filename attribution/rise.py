"""RISE."""

from collections.abc import Iterator

import torch
from torch import Tensor

from learned_saliency.attribution.core.masked import MaskingMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.ops import full_precision, widen


class RISE(MaskingMethod):
    """RISE (Petsiuk et al. 2018): the mean of random masks, weighted by the score under them.

    The map is S = 1/(N p) sum_i f_c(x * M_i) M_i (Eq. 6), a Monte Carlo estimate of the mean score
    over the masks that leave a pixel in the image (Eq. 3-5). A mask consists of s x s cells that
    are 1 with probability p and else 0, enlarged bilinearly to (s + 1) cells of ceil(H/s) x
    ceil(W/s) pixels and cropped to H x W at a random shift of up to one cell (Sec. 3.2). A masked
    pixel becomes 0 in the given image, the mean color for images that are normalized.

    All images and classes are explained by the same masks, which are made for one run at a time.
    The paper has 4000 masks of 7 x 7 cells for VGG16, 8000 for ResNet-50, both with p = 0.5.

    Note:
        The standard deviation of a map is about 1/sqrt(N) of the scores' own. ``"probability"`` is
        the paper's score, softmax(y)_c, and the default here; for scores of a function that are no
        classes (``outputs`` of `attribution.split`) give ``target="logit"``, the score as it is.
        Borders of the enlarged cells are mirrored, as in the released code.

    Args:
        masks: Number of masks N, at least 1.
        cells: Cells s along each side, at least 2 and at most the pixels of the shorter side.
        p: Probability that a cell is kept, in (0, 1).
        seed: Seed of the masks.
        target: See `PostHocMethod`.
        **options: See `MaskingMethod`; ``progress`` is told after each run.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        *,
        masks: int = 4000,
        cells: int = 7,
        p: float = 0.5,
        seed: int = 0,
        target: str = "probability",
        **options: object,
    ) -> None:
        super().__init__(target=target, **options)
        if masks < 1 or cells < 2 or not 0 < p < 1:
            raise ValueError(
                f"expected masks >= 1, cells >= 2 and p in (0, 1), got {masks}, {cells} and {p}"
            )
        self.masks = masks
        self.cells = cells
        self.p = p
        self.seed = seed

    def _class_maps(self, query: Query, targets: Tensor) -> Tensor:
        images = query.images
        size = self._run_size(images)
        count, height, width = images.shape[0], *images.shape[-2:]
        maps = widen(images.new_zeros(count, targets.shape[1], height * width))
        for index, masks in enumerate(self._masks(height, width, size, maps)):
            shown, flat = masks[:, None].to(images.dtype), masks.flatten(1)
            for row in range(count):
                rows = torch.full((len(masks),), row, device=images.device)
                logits = query.run(images[row] * shown, rows)
                scores = query.class_scores(logits, targets[rows]).to(maps.dtype)  # (R, T)
                with full_precision(images.device):
                    maps[row] += scores.T @ flat
                self._tell(index * count + row + 1, count * -(-self.masks // size))
        return maps.unflatten(2, (height, width)) / (self.masks * self.p)

    def _masks(self, height: int, width: int, size: int, like: Tensor) -> Iterator[Tensor]:
        """Give the masks, at most ``size`` at a time: (R, H, W) in [0, 1]."""
        if self.cells > min(height, width):
            raise ValueError(
                f"cells must be at most the shorter side of the images, {min(height, width)} "
                f"pixels, got {self.cells}"
            )
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.masks, self.cells, self.cells)
        kept = (torch.rand(shape, generator=generator) < self.p).to(like)
        sides = []
        for side in (height, width):
            cell = -(-side // self.cells)
            shifts = torch.randint(cell, (self.masks, 1), generator=generator)
            pixels = (shifts + torch.arange(side)).to(like.device)
            sides.append((enlarging(self.cells, (self.cells + 1) * cell).to(like), pixels))
        for some in torch.arange(self.masks, device=like.device).split(size):
            tall, wide = (weights[pixels[some]] for weights, pixels in sides)  # (R, side, s)
            with full_precision(like.device):
                yield tall @ kept[some] @ wide.mT


def enlarging(cells: int, size: int) -> Tensor:
    """Compute the matrix of linear enlargement with half-pixel centers and mirrored borders.

    Args:
        cells: Values to enlarge, at least 2.
        size: Values wanted, at least ``cells``.

    Returns:
        Weights (size, cells) in [0, 1], float64; rows sum to 1.
    """
    places = ((torch.arange(size, dtype=torch.float64) + 0.5) * cells / size - 0.5).abs()
    places = cells - 1 - (cells - 1 - places).abs()
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp(min=0)
