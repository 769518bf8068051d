"""Absolute size constraint, which pushes both maps to be large."""

from torch import Tensor

from learned_saliency.losses.log_barrier import log_barrier
from learned_saliency.ops import widen


def size_constraint(probabilities: Tensor, t: float | Tensor) -> Tensor:
    """Penalize small areas of background and foreground alike (F-CAM, constraint of Eq. 3).

    The penalty is half the sum over both channels of the mean over images of
    ``log_barrier(-area, t)``. Areas of many pixels stay on the logarithmic branch, where this is
    -log(area) / t: it fades as t grows. An area of zero has a finite penalty and gradient.

    Args:
        probabilities: Softmax of the decoder's output, shape (B, 2, H, W) in [0, 1].
        t: Barrier parameter > 0.

    Returns:
        Unweighted scalar; negative for areas above one pixel. The area is in pixels, not a share
        of the image.

    Raises:
        TypeError: If ``probabilities`` is not floating point.
        ValueError: If ``probabilities`` is not (B, 2, H, W) or ``t`` not one positive number.
    """
    if probabilities.dim() != 4 or probabilities.shape[1] != 2:
        shape = tuple(probabilities.shape)
        raise ValueError(f"probabilities must be (B, 2, H, W), got shape {shape}")
    area = widen(probabilities).sum(dim=(2, 3))  # (B, 2), in pixels
    return log_barrier(-area, t).mean(dim=0).sum() / 2
