"""Log-barrier extension for inequality constraints z <= 0, and the course of its temperature."""

import math

import torch
from torch import Tensor, nn


def log_barrier(z: Tensor, t: float | Tensor) -> Tensor:
    """Penalize values ``z`` that come near or break the constraint z <= 0 (Kervadec et al. 2019).

    The penalty is -log(-z) / t up to z = -1 / t^2, and beyond that point its tangent there,
    t z - log(1 / t^2) / t + 1 / t. Value and slope are continuous, and both are finite for any
    finite ``z``.

    Args:
        z: Values of the constrained function, any shape, any real numbers.
        t: Barrier parameter > 0, a number or a tensor of one element; the larger, the closer to a
            hard constraint.

    Returns:
        Penalties of the shape and type of ``z``.

    Raises:
        TypeError: If ``z`` is not floating point.
        ValueError: If ``t`` is not one positive, finite number.
    """
    if not z.is_floating_point():
        raise TypeError(f"z must be floating point, got {z.dtype}")
    if isinstance(t, Tensor) and t.numel() != 1:
        raise ValueError(f"t must be a single number, got shape {tuple(t.shape)}")
    t = float(t)
    if not 0 < t < math.inf:
        raise ValueError(f"t must be positive and finite, got {t}")
    knee = -1 / t**2
    inside = z <= knee
    # The logarithm sees values up to the knee only. At z = 0 (an empty map) its slope is infinite:
    # the last line would discard its value, but multiply its slope by 0, which is NaN. For z > 0
    # its value is NaN and its slope finite, so that nothing of it would reach the gradient.
    barrier = -torch.log(-torch.where(inside, z, knee)) / t
    tangent = t * z - math.log(-knee) / t + 1 / t
    return torch.where(inside, barrier, tangent)


class BarrierTemperature(nn.Module):
    """The barrier's parameter t, raised after each epoch and kept in the ``state_dict``.

    Args:
        start: First value, > 0. The default values are F-CAM's, section 4.1.
        growth: Factor after each epoch, >= 1.
        maximum: Largest value, >= ``start``.

    Attributes:
        t: The current value, a float32 buffer of shape ().

    Raises:
        ValueError: If an option is out of its range.
    """

    t: Tensor

    def __init__(self, start: float = 1.0, growth: float = 1.01, maximum: float = 10.0) -> None:
        super().__init__()
        if not 0 < start <= maximum < math.inf:
            raise ValueError(f"need 0 < start <= maximum, got {start} and {maximum}")
        if not 1 <= growth < math.inf:
            raise ValueError(f"growth must be at least 1, got {growth}")
        self.growth = growth
        self.maximum = maximum
        self.register_buffer("t", torch.tensor(start, dtype=torch.float32))

    def step(self) -> None:
        """Raise t; call once after each training epoch."""
        self.t.mul_(self.growth).clamp_(max=self.maximum)

    def forward(self) -> Tensor:
        """Return the current t, shape ()."""
        return self.t
