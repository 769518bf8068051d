"""Agreement of a map, cut at a threshold, with the segments of its image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.zerobox.ladder import LADDER, best_threshold, cut_levels, quantized


def explained_by_segments(
    saliency: Tensor,
    segments: Sequence[NDArray[np.integer]],
    thresholds: Sequence[float] = LADDER,
) -> Tensor:
    """Compute the part of each cut map's variance that the segments of its image explain.

    The cut map is 1 above the threshold and 0 elsewhere. If it is a union of whole segments, they
    explain all of its variance; of a part of one segment with the share f of its pixels they
    explain about f. A constant cut map, empty or the whole image, has no variance and counts as 0.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        segments: Number of each pixel's segment, integers (H, W) from 0, per image.
        thresholds: Fractions of a map's maximum, T numbers in [0, 1).

    Returns:
        Parts in [0, 1], float64 (B, T), on the CPU.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is no batch of maps in [0, 1], or the shapes do not fit.
    """
    check_saliency(saliency)
    if len(segments) != len(saliency) or any(s.shape != saliency.shape[1:] for s in segments):
        raise ValueError(f"expected segments of {len(saliency)} maps {tuple(saliency.shape[1:])}")
    levels = quantized(saliency)
    cuts = cut_levels(levels, torch.tensor(thresholds, dtype=torch.float64)).cpu().numpy()
    found = map(_explained, levels.cpu().numpy(), segments, cuts)
    return torch.from_numpy(np.stack(list(found)))


def _explained(
    levels: NDArray[np.int64], segments: NDArray[np.integer], cuts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute one map's parts (T,), from the numbers of pixels by segment and level."""
    count = int(segments.max()) + 1
    pairs = segments.ravel().astype(np.int64) * 256 + levels.ravel()
    pixels = np.bincount(pairs, minlength=256 * count).reshape(count, 256)
    above = pixels[:, ::-1].cumsum(1)[:, ::-1]  # (S, 256): pixels at or above a level
    inside = above[:, cuts + 1].astype(np.float64)  # (S, T); the cuts are below 255
    sizes = pixels.sum(1).astype(np.float64)[:, None]
    between = (inside**2 / np.maximum(sizes, 1)).sum(0)
    total, every = inside.sum(0), sizes.sum()
    variance = total - total**2 / every
    explained = between - total**2 / every
    return np.divide(explained, variance, out=np.zeros_like(variance), where=variance > 0)


class ZeroBoxSegments(Metric):
    """Mean part of the cut maps' variance explained by segments, at the threshold best for it.

    ``compute`` gives ``zerobox_segments``, in [0, 1], and ``zerobox_segments_threshold``, the
    threshold; 0.5 where all maps are constant. See `explained_by_segments`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {
        "zerobox_segments": Figure(True, progress=True),
        "zerobox_segments_threshold": Figure(None, headline=False),
    }

    sums: Tensor  # (T,)
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros(len(LADDER), dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, explained: Tensor) -> None:
        """Add a batch.

        Args:
            explained: What `explained_by_segments` gives at `LADDER`, float64 (B, T).
        """
        self.sums += explained.sum(0).to(self.sums.device)
        self.images += len(explained)

    def compute(self) -> dict[str, Tensor]:
        """Compute the part at the best threshold, and the threshold."""
        curve = self.sums / self.images
        thresholds = torch.tensor(LADDER, dtype=torch.float64)
        return {
            "zerobox_segments": curve.max(),
            "zerobox_segments_threshold": best_threshold(curve, thresholds),
        }
