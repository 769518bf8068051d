"""Classification of a map's cut-out against that of its complement."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.masking import check_maps, check_targets, predict
from learned_saliency.metrics.zerobox.ladder import LADDER, best_threshold, cut_levels, quantized

#: Each costs two passes of the classifier.
CUTOUT_THRESHOLDS = LADDER[1::2]


@torch.no_grad()
def cutout_evidence(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor,
    *,
    thresholds: Sequence[float] = CUTOUT_THRESHOLDS,
    batch_size: int = 32,
) -> Tensor:
    """Measure how much better a map's cut-out is classified than its complement, above chance.

    With p(A) the probability of the class when only the part A of the image is shown, M the pixels
    above the threshold and a their share of the image, the value is

        p(M) - p(not M) - (2 a - 1) (p(all) - p(nothing)).

    The last term is what a part of this size would have if the evidence lay evenly everywhere. So
    an empty cut-out has 0, and so has the whole image, and a tiny part has nearly 0. What is not
    shown has the mean color, 0 in the normalized image.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Normalized images of shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1].
        targets: Classes, int64 (B,).
        thresholds: Fractions of a map's maximum, T numbers in [0, 1).
        batch_size: Most images per call of the model, at least 1.

    Returns:
        Values in [-2, 2], float64 (B, T).

    Raises:
        TypeError: If images, maps or targets are of the wrong type.
        ValueError: If shapes do not fit, a map leaves [0, 1], a class does not exist, or the model
            is in training mode.
    """
    check_maps(images, saliency)
    whole = predict(model, images, batch_size=batch_size)
    targets = check_targets(targets, whole)[:, None]
    nothing = predict(model, torch.zeros_like(images[:1])).expand_as(whole)
    span = (whole.double() - nothing.double()).gather(1, targets)[:, 0]
    found = []
    for inside in _cutouts(saliency, thresholds):
        mask = inside[:, None].to(images.dtype)
        shown = torch.cat([images * mask, images * (1 - mask)])
        probs = predict(model, shown, batch_size=batch_size).gather(1, targets.repeat(2, 1))
        cutout, complement = probs[:, 0].double().chunk(2)
        area = inside.double().mean((1, 2))
        found.append(cutout - complement - (2 * area - 1) * span)
    return torch.stack(found, dim=1)


def _cutouts(saliency: Tensor, thresholds: Sequence[float]) -> Iterator[Tensor]:
    """Yield the pixels above each threshold, bool (B, H, W)."""
    levels = quantized(saliency)
    cuts = cut_levels(levels, torch.tensor(thresholds, dtype=torch.float64))
    return (levels > cut[:, None, None] for cut in cuts.unbind(1))


class ZeroBoxCutout(Metric):
    """Mean evidence in a map's cut-out above that of chance, at the threshold that suits it best.

    ``compute`` gives ``zerobox_cutout``, in [-2, 2], and ``zerobox_cutout_threshold``, the
    threshold; 0.5 where no threshold is better than chance. See `cutout_evidence`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {
        "zerobox_cutout": Figure(True, progress=True),
        "zerobox_cutout_threshold": Figure(None, headline=False),
    }

    sums: Tensor  # (T,)
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros(len(CUTOUT_THRESHOLDS), dtype=torch.float64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, evidence: Tensor) -> None:
        """Add a batch.

        Args:
            evidence: What `cutout_evidence` gives at `CUTOUT_THRESHOLDS`, float64 (B, T).
        """
        self.sums += evidence.double().sum(0).to(self.sums.device)
        self.images += len(evidence)

    def compute(self) -> dict[str, Tensor]:
        """Compute the value at the best threshold, and the threshold."""
        curve = self.sums / self.images
        thresholds = torch.tensor(CUTOUT_THRESHOLDS, dtype=torch.float64)
        return {
            "zerobox_cutout": curve.max(),
            "zerobox_cutout_threshold": best_threshold(curve, thresholds),
        }
