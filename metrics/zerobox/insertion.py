"""Insertion minus deletion: does the class follow the map's most salient pixels?"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.insertion_deletion import area_under_curves
from learned_saliency.metrics.masking import check_maps, check_targets, predict


def shares_of_pixels(saliency: Tensor, fraction: float) -> Tensor:
    """Compute how much of each pixel is in when a fraction of the most salient pixels is.

    Pixels of equal saliency come in together, each by the same share, so that a constant map
    prefers no pixel.

    Args:
        saliency: Maps of shape (B, H, W).
        fraction: Part of the pixels that is in, in [0, 1].

    Returns:
        Shares in [0, 1] with the mean ``fraction``, float32 (B, H, W).
    """
    values = saliency.detach().float().flatten(1)
    ordered = values.sort(dim=1).values
    upper = torch.searchsorted(ordered, values, right=True)
    lower = torch.searchsorted(ordered, values, right=False)
    more_salient = values.shape[1] - upper
    shares = (fraction * values.shape[1] - more_salient) / (upper - lower)
    return shares.clamp(0, 1).float().view(saliency.shape)


@torch.no_grad()
def insertion_minus_deletion(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor,
    *,
    steps: int = 10,
    batch_size: int = 32,
) -> Tensor:
    """Compute the area under the insertion curve minus that under the deletion curve.

    At a fraction t, insertion shows the t most salient pixels and deletion shows the others; what
    is not shown has the mean color, 0 in the normalized image. A constant map has two curves that
    mirror each other, and so the value 0.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Normalized images of shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1]; only the order of a map's values counts.
        targets: Classes, int64 (B,).
        steps: Number of steps from no pixel to all, at least 1.
        batch_size: Most images per call of the model, at least 1.

    Returns:
        Differences in [-1, 1], float64 (B,).

    Raises:
        TypeError: If images, maps or targets are of the wrong type.
        ValueError: If shapes do not fit, a map leaves [0, 1], a class does not exist, ``steps`` or
            ``batch_size`` is below 1, or the model is in training mode.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    check_maps(images, saliency)
    whole = predict(model, images, batch_size=batch_size)
    targets = check_targets(targets, whole)[:, None]
    nothing = predict(model, torch.zeros_like(images[:1])).expand_as(whole)
    inserted = [nothing.gather(1, targets)]
    deleted = [whole.gather(1, targets)]
    for step in range(1, steps):
        shares = shares_of_pixels(saliency, step / steps).to(images.dtype)[:, None]
        shown = torch.cat([images * shares, images * (1 - shares)])
        found = predict(model, shown, batch_size=batch_size).gather(1, targets.repeat(2, 1))
        inserted.append(found[: len(images)])
        deleted.append(found[len(images) :])
    inserted.append(whole.gather(1, targets))
    deleted.append(nothing.gather(1, targets))
    return area_under_curves(torch.cat(inserted, 1)) - area_under_curves(torch.cat(deleted, 1))


class ZeroBoxInsertion(ImageMean):
    """Mean area under the insertion curve minus that under the deletion curve, in [-1, 1].

    A constant map has 0, a full or an empty one too.
    """

    higher_is_better = True
    needs: ClassVar[frozenset[str]] = frozenset()
    figures: ClassVar[Mapping[str, Figure]] = {"zerobox_insertion": Figure(True, progress=True)}

    def update(self, differences: Tensor) -> None:
        """Add a batch.

        Args:
            differences: What `insertion_minus_deletion` gives, float64 (B,).
        """
        self._add(differences.double())
