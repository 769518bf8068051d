from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_masks, check_saliency
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_states import ImageStates

# Scores k/1000 <= s < (k+1)/1000 fall into bin k, a score of exactly 1 into bin 1000; the last bin,
# [2, 3), is always empty.
BINS = 1002

# Pixels counted at a time: so few that intermediate results stay in the processor's cache, which is
# four times faster than 32 maps of 224 x 224 pixels at once.
_SLICE = 2**18


class PrecisionRecall(NamedTuple):
    """A precision-recall curve, from the highest threshold down.

    Attributes:
        precision: Fraction of the pixels at or above the threshold that are object, float64 (n,).
        recall: Fraction of the object's pixels that are at or above the threshold, float64 (n,).
        thresholds: Lower edges of the score bins in [0, 1], float64 (n,).
    """

    precision: Tensor
    recall: Tensor
    thresholds: Tensor


class PxAP(ImageStates):
    """Pixel average precision (Choe et al., CVPR 2020), over the pooled pixels of all images.

    PxAP = sum_k precision_k (recall_k - recall_{k-1}), k over score bins from the highest down,
    without interpolation. ``compute`` gives a fraction in [0, 1], as a float64 scalar.

    Without any object pixel recall is undefined and the public code raises an error. Here PxAP is
    NaN then, because a validation run must not end on it, and because 0 would enter a comparison of
    checkpoints as a real failure (Lightning's ``ModelCheckpoint`` ranks NaN last by itself).
    Without a background pixel PxAP is 1.

    Note:
        As in the public evaluator scores are compared in float64 with bin edges
        ``np.arange(0, 1, 0.001)``, then 1, 2 and 3, so that a score of 1 has a bin of its own.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({"masks"})
    figures: ClassVar[Mapping[str, Figure]] = {"pxap": Figure(True, leads=True, progress=True)}

    object_scores: Tensor  # (1002,) counts of object pixels, lowest scores first
    background_scores: Tensor  # (1002,) counts of background pixels likewise

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("object_scores", "background_scores"):
            self.add_state(name, torch.zeros(BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, saliency: Tensor, masks: Tensor) -> None:
        """Count the scores of a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1].
            masks: True masks of shape (B, H, W), uint8: 0 background, 1 object, 255 ignore.

        Raises:
            TypeError: If ``saliency`` is not floating or ``masks`` not uint8.
            ValueError: If the shapes differ, ``saliency`` leaves [0, 1] or holds a NaN, or a mask
                has another value.
        """
        counts = image_histograms(saliency, masks).to(self.object_scores.device)
        self.image_states = {"object_scores": counts[:, 1], "background_scores": counts[:, 0]}
        self.background_scores += counts[:, 0].sum(0)
        self.object_scores += counts[:, 1].sum(0)

    def compute(self) -> Tensor:
        """Compute PxAP over all pixels seen."""
        return self.of_states(self.metric_state)["pxap"]

    @staticmethod
    def of_states(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute PxAP of counts (..., 1002); see `ImageStates`."""
        return {"pxap": average_precision(states["object_scores"], states["background_scores"])}

    @staticmethod
    def thinned(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out bins without a pixel."""
        filled = torch.stack(list(states.values())).flatten(0, -2).any(0)
        return {name: values[..., filled] for name, values in states.items()}

    def curve(self) -> PrecisionRecall:
        """Compute precision and recall at each bin's lower edge.

        Under DDP the counts of all processes are summed, so every process has to call it.

        Returns:
            The curve, without thresholds above the highest score seen; recall is NaN without any
            object pixel.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            true = self.object_scores.flip(0).cumsum(0).double()
            false = self.background_scores.flip(0).cumsum(0).double()
        edges = _edges(true.device).flip(0)
        seen = true + false > 0
        precision = true / (true + false)
        recall = true / true[-1]
        return PrecisionRecall(precision[seen], recall[seen], edges[seen])


def score_histograms(saliency: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Count background and object pixels by score.

    Args:
        saliency: Maps of shape (B, H, W) in [0, 1].
        masks: True masks of shape (B, H, W), uint8: 0 background, 1 object, 255 ignore.

    Returns:
        Counts of background and of object pixels, each int64 (1002,), lowest scores first.

    Raises:
        TypeError: If ``saliency`` is not floating or ``masks`` not uint8.
        ValueError: If the shapes differ, ``saliency`` leaves [0, 1] or holds a NaN, or a mask has
            another value.
    """
    background, of_object, _ = region_histograms(saliency, masks)
    return background, of_object


def region_histograms(saliency: Tensor, masks: Tensor) -> Tensor:
    """Count background, object and ignored pixels of all maps by score; see `image_histograms`.

    Returns:
        Counts of background, of object and of ignored pixels, int64 (3, 1002), lowest scores first.
    """
    return image_histograms(saliency, masks).sum(0)


def image_histograms(saliency: Tensor, masks: Tensor) -> Tensor:
    """Count background, object and ignored pixels of each map by score; see `score_histograms`.

    Returns:
        Counts of background, of object and of ignored pixels, int64 (B, 3, 1002), lowest scores
        first.
    """
    check_saliency(saliency)
    check_masks(masks, tuple(saliency.shape))
    kinds = torch.full((256,), 3 * BINS, dtype=torch.int32)  # offset of the bin by mask value
    kinds[[0, 1, 255]] = torch.tensor([0, BINS, 2 * BINS], dtype=torch.int32)
    kinds = kinds.to(saliency.device)
    scores, values = saliency.detach().flatten(1), masks.to(saliency.device).flatten(1)
    images = max(1, _SLICE // scores.shape[1])  # number of images in a slice
    counts = []
    for some, their in zip(scores.split(images), values.split(images), strict=True):
        bins = _bins(some.flatten()) + kinds.index_select(0, their.flatten().int())
        first = torch.arange(len(some), dtype=torch.int32, device=some.device) * (4 * BINS)
        bins.view_as(some).add_(first[:, None])
        found = torch.bincount(bins, minlength=len(some) * 4 * BINS)
        counts.append(found.view(-1, 4, BINS))
    found = torch.cat(counts)
    if found[:, 3].any():
        raise ValueError("masks must hold only 0 (background), 1 (object) and 255 (ignore)")
    return found[:, :3]


def average_precision(true: Tensor, false: Tensor) -> Tensor:
    """Compute the area under the uninterpolated precision-recall curve of score histograms.

    Args:
        true: Counts of object pixels by score, lowest first, (..., n).
        false: Counts of background pixels, (..., n).

    Returns:
        Sum over bins from the highest score down of precision times the step of recall, float64
        (...,) in [0, 1]; NaN without any object pixel.
    """
    true_above = true.flip(-1).cumsum(-1)
    above = true_above + false.flip(-1).cumsum(-1)
    precision = true_above.double() / above.clamp_min(1)
    recall_step = true.flip(-1).double() / true.sum(-1, keepdim=True)
    return (precision * recall_step).sum(-1)


def _bins(saliency: Tensor) -> Tensor:
    """Compute the bins 0..1000, int32, of scores (n,) as ``np.histogram`` with the edges does."""
    wide = saliency.double()
    bins = (wide * 1000).int()
    if saliency.dtype == torch.float64:
        # The product may round across an edge; no float32 number is near enough to one for that.
        edges = _edges(wide.device)
        below = wide < edges.index_select(0, bins)
        above = wide >= edges.index_select(0, bins + 1)
        bins += above.int() - below.int()
    return bins


def _edges(device: torch.device) -> Tensor:
    """Return the bins' lower edges, float64 (1002,); no score reaches the last one."""
    return torch.arange(BINS, dtype=torch.float64, device=device) * 0.001
