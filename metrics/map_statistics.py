"""Statistics of maps: size, variety, decidedness, smoothness."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.checks import check_saliency
from learned_saliency.metrics.figures import Figure


class MapStatistics(Metric):
    """Statistics of saliency maps that need no truth (Zolna et al., Sec. 4).

    ``compute`` gives float64 scalars, NaN before any map was seen:

    - ``map_mean``: mean intensity of a map, averaged over maps, in [0, 1];
    - ``map_std``: standard deviation over maps of their mean intensity (the population's), in
      [0, 0.5]: maps whose size follows the image vary more;
    - ``map_entropy``: -(m ln m + (1 - m) ln(1 - m)), mean over pixels and maps, in [0, ln 2]: 0
      where each pixel is decided;
    - ``map_variation``: total variation, the absolute differences of neighbors along both axes
      summed and divided by the number of pixels, mean over maps, in [0, 2]. The paper gives the
      sum: this value times H W.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {
        "map_mean": Figure(
            None, target=0.5
        ),  # by which CASM's lambda is set (Zolna et al., Sec. 4)
        "map_std": Figure(None, headline=False),
        "map_entropy": Figure(None, headline=False),
        "map_variation": Figure(None, headline=False, in_pixels=True),
    }

    maps: Tensor
    sums: Tensor  # (4,): sums of means, their squares, entropies and variations

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("maps", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, saliency: Tensor) -> None:
        """Count a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1]; H and W may change from batch to batch.

        Raises:
            TypeError: If ``saliency`` is not of a floating type.
            ValueError: If ``saliency`` is no batch of maps in [0, 1].
        """
        check_saliency(saliency)
        values = saliency.detach().double()
        mean = values.mean(dim=(1, 2))
        entropy = torch.special.entr(values) + torch.special.entr(1 - values)
        variation = sum(values.diff(dim=axis).abs().sum(dim=(1, 2)) for axis in (1, 2))
        terms = [mean, mean**2, entropy.mean(dim=(1, 2)), variation / values[0].numel()]
        self.sums += torch.stack(terms).sum(dim=1).to(self.sums.device)
        self.maps += len(values)

    def compute(self) -> dict[str, Tensor]:
        """Compute the statistics as scalars; the class docstring lists them."""
        mean, square, entropy, variation = self.sums / self.maps
        return {
            "map_mean": mean,
            "map_std": (square - mean**2).clamp(min=0).sqrt(),
            "map_entropy": entropy,
            "map_variation": variation,
        }
