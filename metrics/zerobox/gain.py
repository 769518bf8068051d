"""Average gain, drop and increase as a criterion."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from learned_saliency.metrics.faithfulness import drop, gain, increase
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.masking import check_maps, check_targets, predict
from learned_saliency.ops import activation_of


@torch.no_grad()
def kept_probabilities(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor,
    logits: Tensor,
    *,
    batch_size: int = 32,
) -> tuple[Tensor, Tensor]:
    """Measure the probability of a class on images and on the images times their maps.

    What a map hides has the mean color, 0 in the normalized image.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Normalized images of shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1].
        targets: Classes, int64 (B,).
        logits: What ``model`` gives for the images, (B, C).
        batch_size: Most images per call of the model, at least 1.

    Returns:
        The probabilities p and o of paper 000, Eq. 13-15, each (B,).

    Raises:
        TypeError: If images, maps or targets are of the wrong type.
        ValueError: If shapes do not fit, a map leaves [0, 1], a class does not exist, or the model
            is in training mode.
    """
    check_maps(images, saliency)
    whole = activation_of(model).probabilities(logits)
    targets = check_targets(targets, whole)[:, None]
    masked = predict(model, images * saliency[:, None].to(images.dtype), batch_size=batch_size)
    return whole.gather(1, targets)[:, 0], masked.gather(1, targets)[:, 0]


class ZeroBoxGain(Metric):
    """Average gain (paper 000, Eq. 15), which chooses, with average drop and increase beside it.

    ``compute`` gives ``zerobox_gain``, ``zerobox_drop`` and ``zerobox_increase``, in [0, 1]. A map
    that is 1 everywhere has no gain, other than the best average drop, which therefore chooses
    nothing.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {
        "zerobox_gain": Figure(True, progress=True),
        "zerobox_drop": Figure(None, headline=False),
        "zerobox_increase": Figure(None, headline=False),
    }

    sums: Tensor  # (3,), in the order of the figures
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, p: Tensor, o: Tensor) -> None:
        """Add a batch; see `kept_probabilities`."""
        terms = torch.stack([gain(p, o), drop(p, o), increase(p, o)])
        self.sums += terms.sum(dim=1).to(self.sums.device)
        self.images += len(p)

    def compute(self) -> dict[str, Tensor]:
        """Compute the means over all images."""
        return dict(zip(self.figures, self.sums / self.images, strict=True))
