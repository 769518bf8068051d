from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from learned_saliency.metrics.checks import constant_maps
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import check_length, check_maps, predict_variants
from learned_saliency.ops import impute_from_neighbors

#: Parts of the pixels that ROAD removes.
ROAD_FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

_NOISE = 0.01  # standard deviation, in the unit of the images


class RoadProbabilities(NamedTuple):
    """Probabilities of each image's class with pixels removed, in [0, 1].

    Attributes:
        morf: With each part of the most relevant pixels removed, shape (B, F).
        lerf: With each part of the least relevant pixels removed, shape (B, F).
    """

    morf: Tensor
    lerf: Tensor

    def at(self, columns: Sequence[int]) -> "RoadProbabilities":
        """Select some of the parts by their places."""
        return RoadProbabilities(self.morf[:, list(columns)], self.lerf[:, list(columns)])


def road_probabilities(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    targets: Tensor,
    *,
    generators: Sequence[torch.Generator],
    fractions: Sequence[float] = ROAD_FRACTIONS,
    noise: float = _NOISE,
    batch_size: int = 64,
) -> RoadProbabilities:
    """Measure the class probability with the most and the least relevant pixels removed.

    Removed pixels get values from their neighbors and a little noise (noisy linear imputation, Rong
    et al., ICML 2022; see `ops.impute_from_neighbors`), so that their shape tells nothing.
    Of H W pixels round(f H W) are removed, exactly, pixels of equal relevance in reading order in
    both directions; pytorch-grad-cam removes all pixels of the value at its percentile. A constant
    map puts no pixel before another: its ``morf`` is the probability on the image, its ``lerf`` 0.

    Args:
        model: See `insertion_curves`, as for the other arguments and the errors.
        images: Shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1]; only the order of a map's values counts.
        targets: Classes, int (B,).
        generators: A generator on the CPU per image, for its noise, the same for all parts.
        fractions: Removed parts f of the pixels, F numbers in (0, 1).
        noise: Standard deviation of the noise, at least 0, in the unit of ``images``.
        batch_size: Most images per call of the model.

    Returns:
        Probabilities (B, F) twice, from 2 F passes per image.
    """
    check_maps(images, saliency)
    _check_options(images, targets, generators, fractions, noise)
    noisy, removed = noise * _draw(generators, images), _removed(saliency, fractions).flatten(0, 2)
    places = torch.arange(len(images), device=images.device)
    rows = places.repeat_interleave(2 * len(fractions))

    def vary(part: Tensor) -> Tensor:
        row, gone = rows[part], removed[part]
        filled = impute_from_neighbors(images[row], gone) + noisy[row]
        return torch.where(gone[:, None], filled.to(images.dtype), images[row])

    found = predict_variants(model, vary, rows, targets, batch_size=batch_size)
    morf, lerf = found.view(len(images), 2, len(fractions)).unbind(1)
    if len(flat := places[constant_maps(saliency)]):
        whole = predict_variants(model, lambda part: images[flat[part]], flat, targets)
        morf, lerf = morf.clone(), lerf.clone()
        morf[flat], lerf[flat] = whole[:, None], 0.0
    return RoadProbabilities(morf, lerf)


def road_morf(found: RoadProbabilities) -> Tensor:
    """Average each image's probability over the removed parts, the most relevant pixels first.

    Args:
        found: From `road_probabilities`.

    Returns:
        Float64 (B,), in [0, 1].

    Raises:
        ValueError: If the two are not (B, F) with F of at least 1.
    """
    return _checked(found).morf.mean(dim=1)


def road_lerf(found: RoadProbabilities) -> Tensor:
    """Average each image's probability over the removed parts, the least relevant pixels first.

    Args:
        found: See `road_morf`, as for the errors.

    Returns:
        Float64 (B,), in [0, 1].
    """
    return _checked(found).lerf.mean(dim=1)


def road(found: RoadProbabilities) -> Tensor:
    """Compute half of `road_lerf` minus `road_morf`, ROAD in one number as by pytorch-grad-cam.

    Args:
        found: See `road_morf`, as for the errors.

    Returns:
        Float64 (B,), in [-0.5, 0.5].
    """
    found = _checked(found)
    return (found.lerf - found.morf).mean(dim=1) / 2


class RoadMoRF(ImageMean):
    """Mean probability with the most relevant pixels removed first (Rong et al., ICML 2022)."""

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {"road_morf": Figure(False, short="MoRF")}

    def update(self, found: RoadProbabilities) -> None:
        """Add a batch; see `road_morf` for arguments and errors."""
        self._add(road_morf(found))


class RoadLeRF(ImageMean):
    """Mean probability with the least relevant pixels removed first (Rong et al., ICML 2022)."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"road_lerf": Figure(True, short="LeRF")}

    def update(self, found: RoadProbabilities) -> None:
        """Add a batch; see `road_lerf` for arguments and errors."""
        self._add(road_lerf(found))


class Road(ImageMean):
    """Mean of half the difference of both orders of removal, in [-0.5, 0.5].

    A constant map has minus half of the probability on the image, so that no map is worse.
    """

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"road": Figure(True, short="ROAD")}

    def update(self, found: RoadProbabilities) -> None:
        """Add a batch; see `road` for arguments and errors."""
        self._add(road(found))


def _checked(found: RoadProbabilities) -> RoadProbabilities:
    """Check the probabilities, and return them as float64."""
    morf, lerf = found
    if morf.dim() != 2 or morf.shape != lerf.shape or morf.shape[1] < 1:
        raise ValueError(f"expected (B, F) twice, got {tuple(morf.shape)}, {tuple(lerf.shape)}")
    return RoadProbabilities(morf.detach().double(), lerf.detach().double())


def _draw(generators: Sequence[torch.Generator], images: Tensor) -> Tensor:
    """Draw normal numbers of the images' shape, type and device, from a generator per image."""
    drawn = torch.stack([torch.randn(images.shape[1:], generator=g) for g in generators])
    return drawn.to(images)


def _removed(saliency: Tensor, fractions: Sequence[float]) -> Tensor:
    """Find the removed pixels, most and least relevant first, bool (B, 2, F, H, W)."""
    pixels = saliency[0].numel()
    counts = [min(int(fraction * pixels + 0.5), pixels - 1) for fraction in fractions]
    limits = torch.tensor(counts, device=saliency.device)[:, None, None]
    orders = []
    for descending in (True, False):
        order = saliency.flatten(1).argsort(dim=1, descending=descending, stable=True)
        ranks = order.argsort(dim=1).view_as(saliency)
        orders.append(ranks[:, None] < limits)
    return torch.stack(orders, dim=1)


def _check_options(
    images: Tensor,
    targets: Tensor,
    generators: Sequence[torch.Generator],
    fractions: Sequence[float],
    noise: float,
) -> None:
    check_length(targets, images)
    if len(generators) != len(images):
        raise ValueError(f"expected {len(images)} generators, got {len(generators)}")
    if not fractions or not all(0 < fraction < 1 for fraction in fractions):
        raise ValueError(f"fractions must lie in (0, 1), got {list(fractions)}")
    if not noise >= 0:
        raise ValueError(f"noise must be at least 0, got {noise}")
