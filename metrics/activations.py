"""Distribution of a map's values, and how a metric depends on the threshold."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.pxap import BINS, region_histograms

_NEAR = 100  # bins of 0.001 at each end of [0, 1] that count as near to it
_STRETCH = 20  # bins of 0.001 in one of the 50 bins of a histogram
_SLACK = 1e-9  # what rounding may cost


class ThresholdCurve(NamedTuple):
    """Precision, recall and their harmonic mean where maps are cut at a value.

    Attributes:
        thresholds: 0, 0.001, ..., 1, float64 (1001,); pixels at or above it are the object.
        precision: Fraction of these pixels that are object; 0 without any such pixel, as a cut
            that finds nothing must not look good.
        recall: Fraction of the object's pixels that are among these; NaN without an object.
        f1: Harmonic mean of both, 0 where both are 0.
    """

    thresholds: Tensor
    precision: Tensor
    recall: Tensor
    f1: Tensor


class ActivationHistogram(Metric):
    """Histogram of the values of maps, of object, background and all pixels (paper 003, Fig. 6).

    ``compute`` gives float64 scalars, fractions in [0, 1], NaN before any pixel was seen:

    - ``activation_near_zero``: pixels below 0.1, ``activation_near_one``: pixels from 0.9 on; the
      two modes of Fig. 6. Objects are small and large, so that neither direction is better.
    - ``activation_overlap``: area that the histograms of object and background pixels, of 50 bins
      and area 1 each, share: 0 where a threshold parts them, 1 where they are alike, as under a
      constant map; NaN without object or background pixels.
    """

    is_differentiable = False
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {
        "activation_near_zero": Figure(None, headline=False),
        "activation_near_one": Figure(None, headline=False),
        "activation_overlap": Figure(False, short="overlap"),
    }

    counts: Tensor  # (3, 1002): background, object, neither; bins as in `PxAP`

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        counts = torch.zeros(3, BINS, dtype=torch.int64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(self, saliency: Tensor, regions: Tensor) -> None:
        """Count the pixels of a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            regions: Masks uint8 (B, H, W): 0 background, 1 object, 255 neither.

        Raises:
            TypeError: If ``saliency`` is not floating or ``regions`` not uint8.
            ValueError: If the shapes differ, or a value is none of these.
        """
        self.counts += region_histograms(saliency, regions).to(self.counts.device)

    def compute(self) -> dict[str, Tensor]:
        """Compute the values that the class docstring lists."""
        every = self.counts.sum(0).double()
        background, of_object = shares(self.counts)[:2]
        return {
            "activation_near_zero": every[:_NEAR].sum() / every.sum(),
            "activation_near_one": every[1000 - _NEAR :].sum() / every.sum(),
            "activation_overlap": torch.minimum(background, of_object).sum(),
        }

    def histogram(self) -> Tensor:
        """Return the counts of all processes, each of which has to call this: int64 (3, 1002)."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            return self.counts.clone()


def shares(counts: Tensor) -> Tensor:
    """Compute the share of each kind's pixels in 50 bins of [0, 1].

    Args:
        counts: See `ActivationHistogram.histogram`, (3, 1002).

    Returns:
        float64 (3, 50); each row has the sum 1, or is NaN without a pixel. A value of 1 belongs to
        the last bin.
    """
    kept = counts[:, :1000].clone()
    kept[:, -1] += counts[:, 1000:].sum(1)
    coarse = kept.unflatten(1, (-1, _STRETCH)).sum(2).double()
    return coarse / coarse.sum(1, keepdim=True)


def threshold_curve(counts: Tensor) -> ThresholdCurve:
    """Compute precision, recall and F1 at each threshold, over the pooled pixels of all images.

    Args:
        counts: See `ActivationHistogram.histogram`, (3, 1002).
    """
    background, of_object = (kind.flip(0).cumsum(0).flip(0)[:1001].double() for kind in counts[:2])
    precision = of_object / (of_object + background).clamp(min=1)
    recall = of_object / of_object[0]
    f1 = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)
    thresholds = torch.arange(1001, dtype=torch.float64, device=counts.device) / 1000
    return ThresholdCurve(thresholds, precision, recall, f1)


def plateau_width(curve: Tensor, tolerance: float) -> float:
    """Measure how far a threshold may be off without a loss of more than a tolerance.

    Args:
        curve: Accuracy at evenly spaced thresholds, in [0, 1], shape (T,).
        tolerance: Largest loss against the best accuracy, in [0, 1).

    Returns:
        Share, in [0, 1], of the thresholds in the longest stretch that holds a best one and on
        which the accuracy is above 0 and at least the best less the tolerance; 0 where the
        accuracy is 0 everywhere, as under constant maps, NaN for a curve with a NaN.

    Raises:
        ValueError: If ``curve`` is no curve or ``tolerance`` is out of range.
    """
    if curve.ndim != 1 or not len(curve):
        raise ValueError(f"curve must have shape (T,), got {tuple(curve.shape)}")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be in [0, 1), got {tolerance}")
    if bool(curve.isnan().any()):
        return float("nan")
    best = float(curve.max())
    longest, length, holds = 0, 0, False
    for value in [*curve.tolist(), 0.0]:
        if value > 0 and value >= best - tolerance - _SLACK:
            length, holds = length + 1, holds or value == best
        else:
            longest = max(longest, length) if holds else longest
            length, holds = 0, False
    return longest / len(curve)
