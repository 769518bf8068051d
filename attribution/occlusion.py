"""Occlusion."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.masked import MaskingMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.variants import pair_batches
from learned_saliency.ops import full_precision


class Occlusion(MaskingMethod):
    """Occlusion (Zeiler and Fergus 2014, Sec. 4.2): what the score loses under a gray window.

    A square window slides over the image, and its pixels are set to one value. The map of a pixel
    is the mean, over the windows that cover it, of f_c(x) - f_c(x under the window). The last
    window of a row or column reaches beyond the image where the steps do not fit, and covers what
    is left.

    Note:
        The paper shows the score at the window's place, low where it matters; here as elsewhere
        the drop is assigned to the covered pixels. The paper gives no sizes; at 224 pixels the
        defaults make 169 windows. The score is the logit, as for other methods.

    Args:
        window: Side of the window in pixels, at least 1; a larger one than the image is as large.
        stride: Step of the window in pixels, in [1, window].
        baseline: Value of covered pixels in every color, in units of the images; 0 is the mean
            color for images that are normalized.
        **options: See `MaskingMethod`; ``progress`` is told after each run.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self, *, window: int = 32, stride: int = 16, baseline: float = 0.0, **options: object
    ) -> None:
        super().__init__(**options)
        if window < 1 or not 1 <= stride <= window:
            raise ValueError(
                f"expected window >= 1 and stride in [1, window], got {window} and {stride}"
            )
        self.window = window
        self.stride = stride
        self.baseline = baseline

    def windows(self, height: int, width: int) -> Tensor:
        """Compute the windows of an image of the given size: y0 x0 y1 x1, int64 (N, 4).

        The pixels of y1 and x1 lie outside; both may be larger than the image.
        """
        sides = []
        for side in (height, width):
            count = 1 + -(-max(side - self.window, 0) // self.stride)
            sides.append(torch.arange(count) * self.stride)
        corners = torch.cartesian_prod(*sides)
        return torch.cat([corners, corners + self.window], dim=1)

    def _class_maps(self, query: Query, targets: Tensor) -> Tensor:
        images, size = query.images, self._run_size(query.images)
        count, height, width = images.shape[0], *images.shape[-2:]
        windows = self.windows(height, width).to(images.device)
        down, across = inside(windows, height, width)
        whole = query.class_scores(query.logits.detach(), targets)  # (B, T)
        steps, drops = -(-count * len(windows) // size), []
        batches = pair_batches(count, len(windows), size, images.device)
        for step, (rows, index) in enumerate(batches, start=1):
            hidden = down[index, :, None] & across[index, None, :]  # (R, H, W)
            shown = images[rows].masked_fill(hidden[:, None], self.baseline)
            drops.append(whole[rows] - query.class_scores(query.run(shown, rows), targets[rows]))
            self._tell(step, steps)
        drops = torch.cat(drops).unflatten(0, (count, len(windows)))  # (B, N, T)
        down, across = down.to(drops.dtype), across.to(drops.dtype)
        with full_precision(images.device):
            total = torch.einsum("bnt,nh,nw->bthw", drops, down, across)
            return total / torch.einsum("nh,nw->hw", down, across)


def inside(windows: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Find the rows and columns within windows (N, 4), see `Occlusion.windows`.

    Returns:
        Bool (N, H) and (N, W).
    """
    tops, lefts, bottoms, rights = windows[:, None].unbind(2)  # (N, 1) each
    rows = torch.arange(height, device=windows.device)
    columns = torch.arange(width, device=windows.device)
    return (rows >= tops) & (rows < bottoms), (columns >= lefts) & (columns < rights)
