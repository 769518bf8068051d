"""Selectors, objectives and normalizations among which Opti-CAM chooses, by their names."""

from collections.abc import Callable

import torch
from torch import Tensor

from learned_saliency.attribution.core.method import normalize


def _logit(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None])[:, 0]


def _probability(logits: Tensor, targets: Tensor) -> Tensor:
    return _logit(logits.softmax(dim=1), targets)


def _log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    return _logit(logits.log_softmax(dim=1), targets)


def _margin(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape[1] < 2:
        raise ValueError("the margin to the best other class needs at least two classes")
    others = logits.scatter(1, targets[:, None], float("-inf"))
    return _logit(logits, targets) - others.amax(dim=1)


#: g_c(logits (R, C), targets (R,)) -> scores (R,); paper 000, Sec. 3.2.
SELECTORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit": _logit,
    "probability": _probability,
    "log_probability": _log_probability,
    "margin": _margin,
}


def _mask(original: Tensor, inside: Tensor, outside: None) -> Tensor:
    return inside  # Eq. 10


def _diff(original: Tensor, inside: Tensor, outside: None) -> Tensor:
    return -(original - inside).abs()  # Eq. 19


def _iomask(original: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    return inside - outside  # Eq. A1


def _iodiff(original: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    return (original - outside).abs() - (original - inside).abs()  # Eq. A2


#: F(original, inside, outside) -> values (R,), to be maximized. The arguments are scores (R,): for
#: the images, for the images times the mask and, in a two-sided objective, for the images times one
#: minus the mask.
OBJECTIVES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "mask": _mask,
    "diff": _diff,
    "iomask": _iomask,
    "iodiff": _iodiff,
}
TWO_SIDED = frozenset({"iomask", "iodiff"})


def _range(maps: Tensor) -> Tensor:
    return normalize(maps)  # Eq. 16


def _maximum(maps: Tensor) -> Tensor:
    high = maps.amax(dim=(1, 2), keepdim=True)
    positive = high > 0
    scaled = maps / torch.where(positive, high, 1.0)  # Eq. 17
    return torch.where(positive & ~_constant(maps), scaled.clamp(min=0, max=1), 0.0)


def _sigmoid(maps: Tensor) -> Tensor:
    return torch.where(_constant(maps), 0.0, maps.sigmoid())  # Eq. 18


def _constant(maps: Tensor) -> Tensor:
    """Find the maps (R, H, W) that `normalize` takes for constant, shape (R, 1, 1)."""
    return normalize(maps.detach()).amax(dim=(1, 2), keepdim=True) == 0


#: n(maps (R, H, W)) -> masks (R, H, W) in [0, 1]; a constant map becomes zeros.
NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "range": _range,
    "max": _maximum,
    "sigmoid": _sigmoid,
}
