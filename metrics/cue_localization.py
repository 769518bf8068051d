from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.checks import check_masks, check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.pxap import BINS, average_precision, score_histograms

SCALES = ("even", "log")

_DECADES = 7  # the logarithmic scale has its smallest threshold at 1e-7, its largest at 1


class CueLocalization(Metric):
    """MPxAP: precision with which counterfactual maps find the parts that tell two classes apart.

    Kim et al. (ICCV 2021), Sec. 5.2. For each pair of classes the pixels of all its images are
    pooled into one pixel average precision, see `PxAP`; ``compute`` gives the mean over the pairs,
    a fraction in [0, 1], float64. Pairs without any object pixel are left out of the mean.

    Args:
        num_pairs: Number of pairs P, at least 1.
        scale: Scale of the thresholds: ``"even"``, 1000 of them from 0 to 1; or ``"log"``, 1000
            from 1e-7 to 1 at equal ratios, which the released code takes for CALM's probabilities.
        accumulate: Whether the pixels of a pair are pooled with the pixels of all pairs before it,
            as happens in the released evaluator, which never resets between pairs; the metric then
            depends on the order of the pairs, in that evaluator fewest differing parts first.

    Raises:
        ValueError: If an argument is out of range.

    Note:
        On the logarithmic scale the released evaluator drops pixels below 1e-7, also from the
        recall; here these pixels count as the lowest scores, as in the paper's definition.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "parts"})
    figures: ClassVar[Mapping[str, Figure]] = {"cue_mpxap": Figure(True)}

    object_scores: Tensor  # (P, 1002) counts of object pixels by pair, lowest scores first
    background_scores: Tensor  # (P, 1002) counts of background pixels likewise

    def __init__(
        self, num_pairs: int, *, scale: str = "even", accumulate: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_pairs < 1:
            raise ValueError(f"num_pairs must be at least 1, got {num_pairs}")
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {scale!r}")
        self.num_pairs = num_pairs
        self.scale = scale
        self.accumulate = accumulate
        for name in ("object_scores", "background_scores"):
            counts = torch.zeros(num_pairs, BINS, dtype=torch.int64)
            self.add_state(name, counts, dist_reduce_fx="sum")

    def update(self, saliency: Tensor, masks: Tensor, pairs: Tensor) -> None:
        """Count the scores of a batch.

        Args:
            saliency: Absolute counterfactual maps of shape (B, H, W) in [0, 1].
            masks: The differing parts, uint8 (B, H, W): 0 background, 1 part, 255 ignore.
            pairs: Pair that each map is about, integers (B,) in 0..P-1.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If shapes do not fit, a value is out of range, or a map holds a NaN.
        """
        check_saliency(saliency)
        check_masks(masks, tuple(saliency.shape))
        self._check_pairs(pairs, len(saliency))
        scores = log_scale(saliency) if self.scale == "log" else saliency
        for pair in pairs.unique().tolist():
            rows = pairs == pair
            background, of_part = score_histograms(scores[rows], masks[rows.to(masks.device)])
            self.background_scores[pair] += background.to(self.background_scores.device)
            self.object_scores[pair] += of_part.to(self.object_scores.device)

    def compute(self) -> Tensor:
        """Compute the mean PxAP over the pairs; NaN if no pair has an object pixel."""
        return self._values().nanmean()

    def per_pair(self) -> Tensor:
        """Compute the PxAP of each pair, float64 (P,); NaN where it has no object pixel.

        Under DDP the counts of all processes are summed, so every process has to call it.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            return self._values()

    def _values(self) -> Tensor:
        counts = self.object_scores, self.background_scores
        of_part, background = (c.cumsum(0) if self.accumulate else c for c in counts)
        values = average_precision(of_part, background)
        return values.masked_fill(self.object_scores.sum(1) == 0, torch.nan)

    def _check_pairs(self, pairs: Tensor, batch: int) -> None:
        if pairs.is_floating_point() or pairs.dtype == torch.bool:
            raise TypeError(f"pairs must be integers, got {pairs.dtype}")
        known = (pairs >= 0) & (pairs < self.num_pairs)
        if pairs.shape != (batch,) or not bool(known.all()):
            raise ValueError(
                f"pairs must be ({batch},) in [0, {self.num_pairs}), got {pairs.tolist()}"
            )


def log_scale(saliency: Tensor) -> Tensor:
    """Map scores so that even thresholds on the result are logarithmic thresholds on the scores.

    Args:
        saliency: Scores in [0, 1], any shape.

    Returns:
        1 + log10(score) / 7 in [0, 1], float64; 0 for scores up to 1e-7.
    """
    return (1 + saliency.double().log10() / _DECADES).clamp(min=0)
