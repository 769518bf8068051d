from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.boxes import IOU_THRESHOLDS, THRESHOLDS, best_ious
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_states import ImageStates
from learned_saliency.ops import Activation

_PERCENTS = tuple(round(100 * iou) for iou in IOU_THRESHOLDS)
_IOU_50 = IOU_THRESHOLDS.index(0.5)

_MAX_BOX_ACC = {"max_box_acc": Figure(True, leads=True, progress=True)}
_MAX_BOX_ACC_V2 = {"max_box_acc_v2": Figure(True, leads=True)}
_LABELS = frozenset({"labels"})


class _BoxAccuracy(Metric):
    """Counter of images whose proposed boxes meet a true box, at 1000 thresholds and three IoUs.

    The states are equal for all metrics built on this class, so that a ``MetricCollection`` of
    these metrics searches the contours of a map once.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})

    hits: Tensor  # (2, 3, 1000): largest or any contour, IoU threshold, map threshold
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        hits = torch.zeros(2, len(IOU_THRESHOLDS), len(THRESHOLDS), dtype=torch.int64)
        self.add_state("hits", hits, dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, saliency: Tensor, boxes: Sequence[Tensor]) -> None:
        """Count the hits of a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1], as their producer normalized them; H and W
                may change from batch to batch.
            boxes: For each map its true boxes x0 y0 x1 y1 in pixels of the map, integers (n, 4), of
                which one must be met. x1 and y1 are counted as inside the box. A map without true
                boxes is not counted.

        Raises:
            TypeError: If ``saliency`` is not floating or a tensor of ``boxes`` not of integers.
            ValueError: If ``saliency`` is no batch of maps in [0, 1], or ``boxes`` does not hold
                boxes of each map, with x0 <= x1 and y0 <= y1.
        """
        self._count(saliency, boxes)

    def _count(self, saliency: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Count; return the hits, bool (B, 2, 3, 1000), and the maps with boxes, bool (B,)."""
        ious = best_ious(saliency, boxes)
        hits = ious[:, :, None] >= torch.tensor(IOU_THRESHOLDS, dtype=ious.dtype)[:, None]
        hits = hits.to(self.hits.device)  # (B, 2, 3, 1000)
        boxed = ~ious[:, 0, 0].isnan().to(self.hits.device)
        self.hits += hits.sum(0)
        self.images += boxed.sum()
        return hits, boxed

    def _accuracy(self) -> Tensor:
        """Compute the fractions of images hit, float64 (2, 3, 1000); NaN before any image."""
        return self.hits.double() / self.images


class MaxBoxAcc(_BoxAccuracy):
    """Box accuracy at IoU 0.5 and the threshold that suits it best (Choe et al., CVPR 2020).

    A map proposes the box of its largest contour; see ``metrics.best_ious``. One threshold holds
    for all images, the best on the images evaluated. ``compute`` gives a fraction in [0, 1],
    as a float64 scalar, NaN before any image was seen.

    Note:
        The public evaluator's far box edges lie one pixel beyond the contour and are then counted
        as inside (IoU with + 1), and score maps are truncated to 8 bits. Both are kept.
    """

    figures: ClassVar[Mapping[str, Figure]] = _MAX_BOX_ACC

    def compute(self) -> Tensor:
        """Compute the largest fraction of images hit at any threshold."""
        return self._accuracy()[0, _IOU_50].max()


class MaxBoxAccV2(_BoxAccuracy):
    """Box accuracy averaged over the IoUs 0.3, 0.5 and 0.7, each at its own best threshold.

    A map proposes the boxes of all its contours, those of holes included, and one must meet one
    true box (Choe et al., in the journal version); see ``metrics.best_ious``. ``compute`` gives a
    fraction in [0, 1], as a float64 scalar, NaN before any image was seen.
    """

    figures: ClassVar[Mapping[str, Figure]] = _MAX_BOX_ACC_V2

    def compute(self) -> Tensor:
        """Compute the mean over the three IoUs of the largest fraction hit at any threshold."""
        return self._accuracy()[1].amax(-1).mean()


class Localization(_BoxAccuracy, ImageStates):
    """Box metrics of the WSOL benchmark, all from one search of contours.

    ``compute`` gives a flat dictionary of float64 scalars, fractions but for the threshold:

    - ``max_box_acc``, ``max_box_acc_v2``: as ``MaxBoxAcc`` and ``MaxBoxAccV2``;
    - ``max_box_acc_30``, ``_50``, ``_70``: largest contour, each IoU at its best threshold;
    - ``max_box_acc_v2_30``, ``_50``, ``_70``: the same with all contours, the terms of the mean;
    - ``box_acc``: box accuracy of paper 000, Eq. A5: the mean of ``max_box_acc_30``, ``_50`` and
      ``_70``, with the largest contour, the far edges and the 8-bit maps of the benchmark;
    - ``best_threshold``: the t in [0, 1) for ``boxes_from_saliency`` at which ``max_box_acc`` is
      reached. On 8-bit maps whole stretches of t reach it. The middle of the longest stretch (the
      first of several) is given, because it is the choice that a shift of the curve, as from the
      validation to the test split, hurts last; the first t would lie on the edge of a drop.
    - ``top1_loc``, ``top5_loc``, if logits and labels were given: fraction of these images whose
      class is among the 1 or 5 highest logits *and* whose largest contour reaches IoU 0.5, at the
      best threshold for this fraction. Among equal logits the lower class comes first, so that
      constant logits are not right. For logits of sigmoids ``top1_loc`` asks instead whether the
      class is told present, by a logit above 0.

    Before any image was seen the fractions are NaN and the threshold is meaningless.
    """

    figures: ClassVar[Mapping[str, Figure]] = {
        **_MAX_BOX_ACC,
        **_MAX_BOX_ACC_V2,
        **{
            f"max_box_acc{version}_{percent}": Figure(True, headline=False)
            for version in ("", "_v2")
            for percent in _PERCENTS
        },
        "box_acc": Figure(True, headline=False),
        "best_threshold": Figure(None, headline=False),
        "top1_loc": Figure(True, needs=_LABELS),
        "top5_loc": Figure(True, needs=_LABELS),
    }

    class_hits: Tensor  # (2, 1000): top 1, top 5
    classified: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        class_hits = torch.zeros(2, len(THRESHOLDS), dtype=torch.int64)
        self.add_state("class_hits", class_hits, dist_reduce_fx="sum")
        self.add_state("classified", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self,
        saliency: Tensor,
        boxes: Sequence[Tensor],
        logits: Tensor | None = None,
        labels: Tensor | None = None,
        activation: Activation = Activation.SOFTMAX,
    ) -> None:
        """Count the hits of a batch.

        Args:
            saliency: Maps of shape (B, H, W) in [0, 1], as their producer normalized them.
            boxes: For each map its true boxes x0 y0 x1 y1 in pixels of the map, integers (n, 4), of
                which one must be met. x1 and y1 are counted as inside the box. A map without true
                boxes is not counted.
            logits: Class scores of any range, (B, C), for ``top1_loc`` and ``top5_loc``.
            labels: True classes in 0..C-1, integers (B,), -1 where unknown: such an image counts
                for the boxes alone; with ``logits`` or not at all.
            activation: Function of the logits to probabilities.

        Raises:
            TypeError: If ``saliency`` is not floating, or ``boxes`` or ``labels`` not integers.
            ValueError: If ``saliency`` or ``boxes`` are not as ``MaxBoxAcc`` expects them, only one
                of ``logits`` and ``labels`` is given, their shapes or the labels' range do not fit,
                or a logit is NaN.
        """
        if (logits is None) != (labels is None):
            raise ValueError("logits and labels must be given together or not at all")
        ranks = None
        if logits is not None and labels is not None:
            ranks = _rank(logits, labels, len(saliency)).to(self.class_hits.device)
        hits, boxed = self._count(saliency, boxes)
        self.image_states = {"hits": hits, "images": boxed}
        if ranks is not None:
            known = (ranks >= 0) & boxed
            first = ranks < 1
            if activation is Activation.SIGMOID:
                first = activation.decides(logits, labels.to(logits.device)).to(ranks.device)
            correct = torch.stack([first, ranks < 5], dim=1) & known[:, None]  # (B, 2)
            class_hits = correct[:, :, None] & hits[:, None, 0, _IOU_50]
            self.image_states |= {"class_hits": class_hits, "classified": known}
            self.class_hits += class_hits.sum(0)
            self.classified += known.sum()

    def compute(self) -> dict[str, Tensor]:
        """Compute all metrics as scalars; the class docstring lists them."""
        result = self.of_states(self.metric_state)
        best = middle_of_longest_maximum(self._accuracy()[0, _IOU_50])
        result["best_threshold"] = torch.tensor(THRESHOLDS, device=best.device)[best]
        return result

    @staticmethod
    def of_states(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute all metrics but ``best_threshold`` of counts; see `ImageStates`."""
        accuracy = states["hits"].double() / states["images"][..., None, None, None]
        largest, every = accuracy.amax(-1).unbind(-2)  # (..., 3) each
        result = {"max_box_acc": largest[..., _IOU_50], "max_box_acc_v2": every.mean(-1)}
        result |= {f"max_box_acc_{p}": largest[..., i] for i, p in enumerate(_PERCENTS)}
        result |= {f"max_box_acc_v2_{p}": every[..., i] for i, p in enumerate(_PERCENTS)}
        result["box_acc"] = largest.mean(-1)
        if "classified" in states and (states["classified"] > 0).any():
            rates = states["class_hits"].double() / states["classified"][..., None, None]
            result["top1_loc"], result["top5_loc"] = rates.amax(-1).unbind(-1)
        return result

    @staticmethod
    def thinned(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Leave out thresholds at which all images are hit as at the one before."""
        found = dict(states)
        for name in states.keys() & {"hits", "class_hits"}:
            changed = states[name].diff(dim=-1).flatten(0, -2).any(0)
            found[name] = states[name][..., torch.cat([changed.new_ones(1), changed])]
        return found

    def curves(self) -> dict[str, Tensor]:
        """Compute box accuracy against the threshold.

        Under DDP the counts of all processes are summed, so every process has to call it.

        Returns:
            ``thresholds`` (1000,), and for each IoU of 30, 50 and 70 percent the fractions of
            images hit, such as ``largest_contour_30`` (1000,) and ``any_contour_30`` (1000,), all
            float64; NaN before any image was seen.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            accuracy = self._accuracy()
        result = {"thresholds": torch.tensor(THRESHOLDS, device=accuracy.device)}
        for name, of_contour in zip(("largest_contour", "any_contour"), accuracy, strict=True):
            keys = (f"{name}_{percent}" for percent in _PERCENTS)
            result |= dict(zip(keys, of_contour, strict=True))
        return result


def _rank(logits: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    """Count classes ahead of the true one, (B,); among equal logits the lower class is ahead.

    The rank of an image whose class is unknown is -1.
    """
    if logits.ndim != 2 or len(logits) != batch_size or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits ({batch_size}, C) and labels ({batch_size},), "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    labels = labels.to(logits.device)[:, None]
    if ((labels < -1) | (labels >= logits.shape[1])).any():
        raise ValueError(
            f"labels must be in 0..{logits.shape[1] - 1} or -1, got {labels[:, 0].tolist()}"
        )
    if logits.isnan().any():
        raise ValueError("logits contain NaN")
    own = logits.gather(1, labels.long().clamp(min=0))
    classes = torch.arange(logits.shape[1], device=logits.device)
    ranks = ((logits > own) | ((logits == own) & (classes < labels))).sum(1)
    return torch.where(labels[:, 0] < 0, -1, ranks)


def middle_of_longest_maximum(curve: Tensor) -> Tensor:
    """Find the middle of the longest stretch, the first of several, where a curve (T,) peaks."""
    curve = curve.nan_to_num()
    at_maximum = (curve == curve.max()).to(torch.int8)
    steps = at_maximum.diff(prepend=at_maximum.new_zeros(1), append=at_maximum.new_zeros(1))
    begins, ends = (steps > 0).nonzero()[:, 0], (steps < 0).nonzero()[:, 0]
    longest = (ends - begins).argmax()
    return (begins[longest] + ends[longest] - 1) // 2
