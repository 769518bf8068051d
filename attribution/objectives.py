"""Objectives of a mask, with their selectors and normalizations, by their names."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from learned_saliency.attribution.core.maps import (
    INTERPOLATIONS,
    is_constant,
    normalize,
    normalize_by_maximum,
    resize,
)
from learned_saliency.attribution.core.targets import TARGETS
from learned_saliency.ops import Activation, full_precision, widen


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


def _sigmoid(maps: Tensor) -> Tensor:
    return torch.where(is_constant(maps), 0.0, maps.sigmoid())  # Eq. 18


#: n(maps (R, H, W)) -> masks (R, H, W) in [0, 1]; a constant map becomes zeros.
NORMALIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "range": normalize,  # Eq. 16
    "max": normalize_by_maximum,  # Eq. 17
    "sigmoid": _sigmoid,
}


class MaskObjective:
    """F of Eq. 10 (paper 000), 19, A1 or A2: what a classifier makes of an image under its map.

    Opti-CAM maximizes it for each image, amortized Opti-CAM in the mean over the training images.

    Args:
        objective: ``"mask"`` (Eq. 10), ``"diff"`` (Eq. 19), ``"iomask"`` (Eq. A1) or ``"iodiff"``
            (Eq. A2). The latter two look at two masked images and cost twice.
        selector: g_c of the logits y: ``"logit"`` y_c, ``"probability"`` softmax(y)_c,
            ``"log_probability"`` its logarithm, ``"margin"`` y_c minus the largest other logit; of
            a sigmoid classifier its sigmoid, the logarithm of that, and y_c, see `TARGETS`.
        normalization: n: ``"range"`` (Eq. 16), ``"max"`` (Eq. 17) or ``"sigmoid"`` (Eq. 18).
        interpolation: How maps are brought to the size of the images, see `PostHocMethod`.
        mean: With ``std``, the values that the images were normalized with, one per color channel:
            then masked pixels are black. Without them they become 0, which in normalized images is
            the mean color.
        std: See ``mean``; above 0.

    Raises:
        ValueError: If a name is unknown or a number outside its range.
    """

    def __init__(
        self,
        *,
        objective: str = "mask",
        selector: str = "logit",
        normalization: str = "range",
        interpolation: str = "bilinear",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        _check_choices(
            (objective, "objective", OBJECTIVES),
            (selector, "selector", TARGETS),
            (normalization, "normalization", NORMALIZATIONS),
            (interpolation, "interpolation", INTERPOLATIONS),
        )
        self.objective = objective
        self.selector = selector
        self.normalization = normalization
        self.interpolation = interpolation
        self.black = _black(mean, std)

    def masks(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Compute n(up(S)) of raw maps S.

        Args:
            maps: Shape (R, h, w).
            size: Height H and width W of the images.

        Returns:
            Masks (R, H, W) in [0, 1]; zeros where a map is constant.
        """
        with full_precision(maps.device):
            maps = resize(maps, size, self.interpolation)
            return NORMALIZATIONS[self.normalization](maps)

    def select(
        self, logits: Tensor, targets: Tensor, activation: Activation = Activation.SOFTMAX
    ) -> Tensor:
        """Compute g_c of logits (R, C) for targets c, int64 (R,): scores (R,)."""
        return TARGETS[self.selector](logits, targets, activation)

    def __call__(
        self,
        classifier: Callable[[Tensor], Tensor],
        images: Tensor,
        masks: Tensor,
        targets: Tensor,
        original: Tensor,
        activation: Activation = Activation.SOFTMAX,
    ) -> Tensor:
        """Compute F in one pass of the classifier, with a graph to the masks.

        Args:
            classifier: Function of images (N, 3, H, W) to logits (N, C).
            images: Shape (R, 3, H, W).
            masks: Shape (R, H, W), in [0, 1].
            targets: Classes, int64 (R,).
            original: What `select` gives for the images as they are, shape (R,).
            activation: Function of the classifier's logits to probabilities.

        Returns:
            F, shape (R,), at least float32; to be maximized.

        Raises:
            ValueError: If ``mean`` and ``std`` do not fit the channels of the images.
        """
        if self.black is not None and len(self.black) != images.shape[1]:
            raise ValueError(
                f"mean and std have {len(self.black)} values, images {images.shape[1]} channels"
            )
        if self.objective in TWO_SIDED:
            shown = torch.stack([masks, 1 - masks])
            inside, outside = self._scores(classifier, images, shown, targets, activation)
        else:
            shown = masks[None]
            inside, outside = self._scores(classifier, images, shown, targets, activation)[0], None
        return OBJECTIVES[self.objective](original, inside, outside)

    def _scores(
        self,
        classifier: Callable[[Tensor], Tensor],
        images: Tensor,
        masks: Tensor,
        targets: Tensor,
        activation: Activation,
    ) -> Tensor:
        """Compute g_c of the masked images in one pass: masks (N, R, H, W) to scores (N, R)."""
        shown = masks[:, :, None].to(images.dtype)
        if self.black is None:
            masked = images * shown
        else:
            black = images.new_tensor(self.black)[:, None, None]
            masked = (images - black) * shown + black
        logits = widen(classifier(masked.flatten(0, 1)))
        targets = targets.repeat(len(masks))
        found = self.select(logits, targets, activation)
        return found.unflatten(0, masks.shape[:2])


def _check_choices(*choices: tuple[str, str, Collection[str]]) -> None:
    for value, name, known in choices:
        if value not in known:
            raise ValueError(f"{name} must be one of {tuple(known)}, got {value!r}")


def _black(mean: Sequence[float] | None, std: Sequence[float] | None) -> list[float] | None:
    """Return a black pixel's value in each channel of an image normalized with mean and std."""
    if mean is None and std is None:
        return None
    if mean is None or std is None or len(mean) != len(std) or not all(s > 0 for s in std):
        raise ValueError(f"expected as many mean as std, these above 0, got {mean} and {std}")
    return [-m / s for m, s in zip(mean, std, strict=True)]
