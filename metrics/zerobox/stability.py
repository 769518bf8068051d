"""Agreement of a map with the maps of the flipped and of the cropped image."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.figures import Figure

GRID = 28  # cells a side on which maps are compared


def profiles(saliency: Tensor) -> Tensor:
    """Bring maps to a grid, without their mean and of length 1, so that products correlate them.

    Args:
        saliency: Maps of shape (B, H, W).

    Returns:
        float64 (B, GRID ** 2); zeros for a constant map.
    """
    cells = F.adaptive_avg_pool2d(saliency.detach().double()[:, None], GRID).flatten(1)
    centered = cells - cells.mean(1, keepdim=True)
    length = centered.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-6, centered / length.clamp_min(1e-12), 0.0)


def _corners(height: int, width: int) -> list[tuple[slice, slice]]:
    """Two opposite crops of three quarters of each side, as rows and columns."""
    rows, columns = round(0.75 * height), round(0.75 * width)
    first = (slice(0, rows), slice(0, columns))
    return [first, (slice(height - rows, height), slice(width - columns, width))]


def view_agreement(explain: Callable[[Tensor], Tensor], images: Tensor, saliency: Tensor) -> Tensor:
    """Correlate each map with the maps of its image flipped, and of two crops of it.

    Args:
        explain: Images (B, 3, H, W) to maps (B, H, W), of the classes that ``saliency`` explains.
        images: Normalized images of shape (B, 3, H, W).
        saliency: Their maps (B, H, W).

    Returns:
        Mean of the three correlations, float64 (B,) in [-1, 1]; a constant map correlates with
        none.
    """
    size = images.shape[-2:]
    pairs = [(saliency, explain(images.flip(-1)).flip(-1))]
    for rows, columns in _corners(*size):
        part = images[..., rows, columns]
        enlarged = F.interpolate(part, size=size, mode="bilinear", align_corners=False)
        pairs.append((saliency[:, rows, columns], explain(enlarged)))
    found = [(profiles(own) * profiles(other)).sum(1) for own, other in pairs]
    return torch.stack(found).mean(0)


class ZeroBoxStability(Metric):
    """Correlation of maps with those of flips and crops, minus that between different images.

    ``compute`` gives a float64 scalar in [-2, 2]. The correlation between the maps of different
    images is subtracted, because maps that do not look at their image agree perfectly: a constant
    map has 0, the same map for all images 0 or less.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {"zerobox_stability": Figure(True, progress=True)}

    agreement: Tensor
    together: Tensor  # (GRID ** 2,): sum of profiles
    squares: Tensor  # sum of their squared lengths
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, shape in {"agreement": (), "together": (GRID**2,), "squares": ()}.items():
            zeros = torch.zeros(shape, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, saliency: Tensor, agreement: Tensor) -> None:
        """Add a batch.

        Args:
            saliency: Maps of shape (B, H, W).
            agreement: What `view_agreement` gives for them, float64 (B,).
        """
        found = profiles(saliency).to(self.together.device)
        self.together += found.sum(0)
        self.squares += found.square().sum()
        self.agreement += agreement.double().sum().to(self.agreement.device)
        self.images += len(found)

    def compute(self) -> Tensor:
        """Compute the mean agreement minus the mean correlation of two different images' maps."""
        pairs = (self.images * (self.images - 1)).clamp_min(1)
        between = (self.together.square().sum() - self.squares) / pairs
        return self.agreement / self.images - between
