from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import black_level, check_maps, check_targets, predict

_SLACK = 1e-5  # how far a softmax may leave [0, 1] by rounding


class MaskedProbabilities(NamedTuple):
    """Probabilities of each image's class, all of shape (B,) and in [0, 1].

    Attributes:
        p: Probability on the image.
        o: Probability on the image multiplied by its map.
        d: Probability on the image multiplied by one minus its map.
    """

    p: Tensor
    o: Tensor
    d: Tensor


def drop(p: Tensor, o: Tensor) -> Tensor:
    """Compute each image's term of average drop, max(p - o, 0) / p (paper 000, Eq. 13).

    Args:
        p: Probability of the class on the image, shape (B,), in [0, 1].
        o: Probability on the image multiplied by the map, shape (B,), in [0, 1].

    Returns:
        Fractions in [0, 1], float64 (B,); 0 where p is 0.

    Raises:
        TypeError: If an argument is not of a floating type.
        ValueError: If shapes differ or are not (B,), or a value is NaN or outside [0, 1].
    """
    p, o = _check_probabilities(p, o)
    return _ratio((p - o).clamp(min=0), p)


def increase(p: Tensor, o: Tensor) -> Tensor:
    """Compute each image's term of average increase, 1 where p < o strictly (paper 000, Eq. 14).

    Args:
        p: See `drop`, as for the other argument and the errors.
        o: Shape (B,), in [0, 1].

    Returns:
        0 or 1, float64 (B,).
    """
    p, o = _check_probabilities(p, o)
    return (p < o).double()


def gain(p: Tensor, o: Tensor) -> Tensor:
    """Compute each image's term of average gain, max(o - p, 0) / (1 - p) (paper 000, Eq. 15).

    Args:
        p: See `drop`, as for the other argument and the errors.
        o: Shape (B,), in [0, 1].

    Returns:
        Fractions in [0, 1], float64 (B,); 0 where p is 1.
    """
    p, o = _check_probabilities(p, o)
    return _ratio((o - p).clamp(min=0), 1 - p)


def drop_in_deletion(p: Tensor, d: Tensor) -> Tensor:
    """Compute each image's term of average drop in deletion, (p - d) / p (paper 002, Eq. 13).

    Args:
        p: See `drop`, as for the errors.
        d: Probability on the image multiplied by one minus the map, shape (B,), in [0, 1].

    Returns:
        Fractions of at most 1, not clipped below, float64 (B,); 0 where p is 0.
    """
    p, d = _check_probabilities(p, d)
    return _ratio(p - d, p)


class AverageDrop(ImageMean):
    """Average drop AD (paper 000, Eq. 13; paper 002, Eq. 12), a fraction in [0, 1]."""

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {"average_drop": Figure(False, short="AD")}

    def update(self, p: Tensor, o: Tensor) -> None:
        """Add a batch; see `drop` for arguments and errors."""
        self._add(drop(p, o))


class AverageIncrease(ImageMean):
    """Average increase AI (paper 000, Eq. 14), which is IC (paper 002, Eq. 11), in [0, 1]."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"average_increase": Figure(True, short="AI")}

    def update(self, p: Tensor, o: Tensor) -> None:
        """Add a batch; see `increase` for arguments and errors."""
        self._add(increase(p, o))


class AverageGain(ImageMean):
    """Average gain AG (paper 000, Eq. 15), a fraction in [0, 1]."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"average_gain": Figure(True, short="AG")}

    def update(self, p: Tensor, o: Tensor) -> None:
        """Add a batch; see `gain` for arguments and errors."""
        self._add(gain(p, o))


class AverageDropInDeletion(ImageMean):
    """Average drop in deletion ADD (paper 002, Eq. 13), a fraction of at most 1, maybe negative."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {
        "average_drop_in_deletion": Figure(True, short="ADD")
    }

    def update(self, p: Tensor, d: Tensor) -> None:
        """Add a batch; see `drop_in_deletion` for arguments and errors."""
        self._add(drop_in_deletion(p, d))


def masked_probabilities(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    minmax: bool = False,
    probabilities: bool = False,
    batch_size: int | None = None,
) -> MaskedProbabilities:
    """Measure the probabilities of the faithfulness metrics, in one model call on 3 B images.

    Args:
        model: Images (R, 3, H, W) to logits (R, C), in evaluation mode.
        images: Shape (B, 3, H, W), as the model takes them.
        saliency: Maps (B, H, W) in [0, 1].
        targets: Classes, int (B,); paper 000 takes the true classes. Default: the predicted ones.
        mean: With ``std``, the values that ``images`` were normalized with, one per color channel.
            Then the color image is masked and normalized again: masked pixels are black. Without
            them, masked pixels become 0, in normalized images the mean color. For a model without
            input normalization (paper 000, App. G), give images in [0, 1] alone.
        std: See ``mean``; above 0.
        minmax: Whether the maps are scaled to [0, 1] by minimum and maximum first (Eq. 10 of
            paper 002); constant maps become zeros.
        probabilities: Whether ``model`` gives probabilities instead of logits.
        batch_size: Most images per call of the model; default: all in one call.

    Returns:
        p, o and d, see `MaskedProbabilities`.

    Raises:
        TypeError: If images, maps or targets are of the wrong type.
        ValueError: If shapes do not fit, a map leaves [0, 1], a class does not exist, ``mean`` and
            ``std`` do not fit, or the model is in training mode.
    """
    check_maps(images, saliency)
    masks = saliency.to(images.dtype)[:, None]
    if minmax:
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = (masks - low) / torch.where(high > low, high - low, 1.0)
    black = black_level(images, mean, std)
    inside = (images - black) * masks + black
    outside = (images - black) * (1 - masks) + black
    shown = torch.cat([images, inside, outside])
    rows = torch.arange(len(images), device=images.device).repeat(3)
    found = predict(model, shown, probabilities, batch_size, rows).unflatten(0, (3, len(images)))
    targets = check_targets(targets, found[0])
    return MaskedProbabilities(*found.gather(2, targets.expand(3, -1)[..., None])[..., 0])


def _check_probabilities(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Check both, and return them as float64 in [0, 1]."""
    for values in (p, q):
        if not isinstance(values, Tensor) or not values.is_floating_point():
            got = values.dtype if isinstance(values, Tensor) else type(values).__name__
            raise TypeError(f"probabilities must be a floating-point tensor (B,), got {got}")
        if values.dim() != 1 or values.shape != p.shape:
            raise ValueError(f"expected two tensors (B,), got {tuple(p.shape)}, {tuple(q.shape)}")
        if not bool(((values >= -_SLACK) & (values <= 1 + _SLACK)).all()):  # catches NaN
            raise ValueError(f"probabilities must be in [0, 1], got {values.tolist()}")
    return p.detach().double().clamp(0, 1), q.detach().double().clamp(0, 1)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, with 0 where the denominator is 0."""
    positive = denominator > 0
    return torch.where(positive, numerator / torch.where(positive, denominator, 1.0), 0.0)
