"""Absolute size constraint, which pushes all regions to be large."""

from torch import Tensor

from learned_saliency.losses.log_barrier import log_barrier
from learned_saliency.ops import widen


def size_constraint(
    probabilities: Tensor, t: float | Tensor, counted: Tensor | None = None
) -> Tensor:
    """Penalize small areas of background and foreground alike (F-CAM, constraint of Eq. 3).

    The penalty is half the sum over the regions, background and foreground in the paper, of the
    mean over images of ``log_barrier(-area, t)``. Areas of many pixels stay on the logarithmic
    branch, where this is -log(area) / t: it fades as t grows. An area of zero has a finite penalty
    and gradient.

    Args:
        probabilities: Softmax of the decoder's output, shape (B, R, H, W) in [0, 1] of R >= 2
            regions.
        t: Barrier parameter > 0.
        counted: Whether a region has to be in an image, bool (B, R); others have no penalty. None
            for all.

    Returns:
        Unweighted scalar; negative for areas above one pixel. The area is in pixels, not a share
        of the image.

    Raises:
        TypeError: If ``probabilities`` is not floating point.
        ValueError: If ``probabilities`` is not (B, R, H, W), ``counted`` not (B, R) or ``t`` not
            one positive number.
    """
    if probabilities.dim() != 4 or probabilities.shape[1] < 2:
        shape = tuple(probabilities.shape)
        raise ValueError(f"probabilities must be (B, R, H, W), R >= 2, got shape {shape}")
    if counted is not None and counted.shape != probabilities.shape[:2]:
        raise ValueError(f"counted must be (B, R), got shape {tuple(counted.shape)}")
    area = widen(probabilities).sum(dim=(2, 3))  # (B, R), in pixels
    penalties = log_barrier(-area, t)
    if counted is not None:
        penalties = penalties.masked_fill(~counted, 0.0)
    return penalties.mean(dim=0).sum() / 2
