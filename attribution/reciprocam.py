"""Recipro-CAM."""

import torch
from torch import Tensor

from learned_saliency.attribution.core.altered import run_size
from learned_saliency.attribution.core.cells import cell_masks, spread
from learned_saliency.attribution.core.joint import JointMethod
from learned_saliency.attribution.core.method import Query
from learned_saliency.attribution.core.variants import pair_batches

_RUNS = 4  # a last layer takes about the same time for 12 rows as for 48


class ReciproCAM(JointMethod):
    """Recipro-CAM (Byun and Lee 2022, arXiv 2209.14074), for convolutional networks.

    The value of cell p is the score of the class when the activations of all other cells are 0,
    s_p = F(A * M_p). M_p is 1 at p; with ``gaussian`` the activations of p are spread over its
    neighbors by the 3 x 3 kernel (1 2 1) (1 2 1)^T / 16, those that would fall outside are lost.
    Only the head runs, once for each cell; all classes of an image are served by these runs
    (`of_classes`). No gradient is needed. Where the score is affine in the activations, as with
    pooling and a linear layer, the values are read from its derivative instead, which is exact:
    without ``gaussian`` the map is then that of `CAM`.

    Note:
        The released code softmaxes the logits of each run: that is ``target="probability"``. It
        has the kernel, but not switched on.

    Args:
        gaussian: Whether a cell's activations are spread over its neighbors.
        batch_size: Cells in one run of the head, at least 1; bounds memory. None for as many as the
            device is fast with, four times those of `run_size`.
        **options: See `PostHocMethod`.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """

    def __init__(
        self, *, gaussian: bool = True, batch_size: int | None = None, **options: str
    ) -> None:
        super().__init__(**options)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.gaussian = gaussian
        self.batch_size = batch_size

    def _class_maps(self, query: Query, targets: Tensor) -> Tensor:
        """Compute the raw maps (B, T, h, w) of classes (B, T)."""
        if self.target != "logit":  # no other is affine
            return self._scores(query, targets)
        rows = torch.arange(len(targets), device=targets.device).repeat_interleave(targets.shape[1])
        each = query.of_classes(rows, targets.flatten())
        if each.affine_derivative is None:
            return self._scores(query, targets)
        maps = self._affine_scores(each.features, *each.affine_derivative)
        return maps.unflatten(0, targets.shape)

    def _affine_scores(self, features: Tensor, gradients: Tensor, rest: Tensor) -> Tensor:
        """Compute the scores (B, h, w) of a head with F(A) = sum of gradients * A + rest."""
        if self.gaussian:  # the kernel is symmetric: spreading A is smoothing the gradients
            gradients = spread(gradients)
        return (gradients * features).sum(dim=1) + rest[:, None, None]

    def _scores(self, query: Query, targets: Tensor) -> Tensor:
        """Compute the scores (B, T, h, w) of classes (B, T) by a run of the head for each cell."""
        features = query.features
        count, cells = len(features), features[0, 0].numel()
        shape = features.shape[-2:]
        masks = cell_masks(*shape, self.gaussian).to(features)[:, None]
        size = self.batch_size or _RUNS * run_size(features[0].numel(), features.device)
        kept = features.new_empty(min(size, count * cells), *features.shape[1:])
        found = []
        for rows, cell in pair_batches(count, cells, size, features.device):
            own = features.flatten(2)[rows, :, cell]  # (R, K)
            # One block of memory for all runs: fresh pages would cost more than the product.
            torch.mul(own[:, :, None, None], masks[cell], out=kept[: len(rows)])
            logits = query.head(kept[: len(rows)], rows)
            found.append(query.class_scores(logits, targets[rows]))
        return torch.cat(found).view(count, *shape, -1).permute(0, 3, 1, 2)
