from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.checks import check_saliency, constant_maps
from learned_saliency.metrics.faithfulness import drop
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import black_level, check_maps
from learned_saliency.metrics.road import RoadProbabilities, road


def explain_masked(
    explain: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Tensor:
    """Explain the images multiplied by their maps, for `coherency`; in one call of the method.

    Args:
        explain: Images (B, 3, H, W) to maps (B, H, W) in [0, 1], for the classes of the first maps.
        images: Shape (B, 3, H, W).
        saliency: Maps (B, H, W) in [0, 1].
        mean: With ``std``, the values that ``images`` were normalized with; see
            `metrics.masked_probabilities`.
        std: See ``mean``.

    Returns:
        Maps (B, H, W) in [0, 1].

    Raises:
        TypeError: If images or maps are not of a floating type.
        ValueError: If shapes do not fit, or a map leaves [0, 1].
    """
    check_maps(images, saliency)
    black = black_level(images, mean, std)
    masked = (images - black) * saliency.to(images.dtype)[:, None] + black
    found = explain(masked)
    check_maps(images, found)
    return found


def coherency(saliency: Tensor, masked_saliency: Tensor) -> Tensor:
    """Compute (r + 1) / 2 with r the correlation of each map with that of the masked image.

    "Revisiting the Evaluation of Class Activation Mapping for Explainability" (Poppi et al., CVPR
    Workshops 2021), which brings Pearson's r to [0, 1].

    Args:
        saliency: Maps (B, H, W) in [0, 1].
        masked_saliency: Maps of the images multiplied by the maps, likewise; see `explain_masked`.

    Returns:
        Float64 (B,) in [0, 1]; 0 where one of the maps is constant, for which r does not exist.

    Raises:
        TypeError: If an argument is not of a floating type.
        ValueError: If shapes differ, or a map leaves [0, 1].
    """
    check_saliency(saliency)
    check_saliency(masked_saliency)
    if saliency.shape != masked_saliency.shape:
        raise ValueError(
            f"expected maps of one shape, got {tuple(saliency.shape)} and "
            f"{tuple(masked_saliency.shape)}"
        )
    first, second = (maps.detach().double().flatten(1) for maps in (saliency, masked_saliency))
    undefined = constant_maps(saliency) | constant_maps(masked_saliency)
    first, second = first - first.mean(1, keepdim=True), second - second.mean(1, keepdim=True)
    norm = first.norm(dim=1) * second.norm(dim=1)
    r = ((first * second).sum(dim=1) / torch.where(undefined, 1.0, norm)).clamp(-1, 1)
    return torch.where(undefined, 0.0, (r + 1) / 2)


def l1_complexity(saliency: Tensor) -> Tensor:
    """Compute the mean of each map, its L1 norm per pixel (Poppi et al. 2021).

    Args:
        saliency: Maps (B, H, W) in [0, 1].

    Returns:
        Float64 (B,) in [0, 1]; 1 for a constant map, which would be the simplest of all.

    Raises:
        TypeError: If ``saliency`` is not of a floating type.
        ValueError: If ``saliency`` is not (B, H, W), or a map leaves [0, 1].
    """
    check_saliency(saliency)
    means = saliency.detach().double().mean(dim=(1, 2))
    return torch.where(constant_maps(saliency), 1.0, means)


def adcc(p: Tensor, o: Tensor, saliency: Tensor, masked_saliency: Tensor) -> Tensor:
    """Compute each image's ADCC (Poppi et al. 2021; paper 000, App. B.2).

    The harmonic mean of coherency, one minus complexity, and one minus the term of average drop.

    Args:
        p: Probability of the class on the image, shape (B,), in [0, 1].
        o: Probability on the image multiplied by the map, shape (B,), in [0, 1].
        saliency: See `coherency`, as for the errors.
        masked_saliency: Maps (B, H, W).

    Returns:
        Float64 (B,) in [0, 1]; 0 where one of the three is 0, as for a constant map.
    """
    parts = (coherency(saliency, masked_saliency), 1 - l1_complexity(saliency), 1 - drop(p, o))
    return _harmonic_mean(*parts)


def arcc(found: RoadProbabilities, saliency: Tensor, masked_saliency: Tensor) -> Tensor:
    """Compute each image's ARCC ("How to Evaluate and Refine your CAM", Domeniconi et al. 2026).

    The harmonic mean of coherency, one minus complexity, and twice ROAD, cut off below 0, as the
    authors' contribution to pytorch-grad-cam computes it.

    Args:
        found: From `road_probabilities` with the parts 0.2, 0.4, 0.6 and 0.8.
        saliency: See `coherency`, as for the errors.
        masked_saliency: Maps (B, H, W).

    Returns:
        Float64 (B,) in [0, 1]; 0 where one of the three is 0, as for a constant map.
    """
    parts = (coherency(saliency, masked_saliency), 1 - l1_complexity(saliency))
    return _harmonic_mean(*parts, (2 * road(found)).clamp(0, 1))


class Coherency(ImageMean):
    """Mean coherency of the maps with those of the masked images (Poppi et al. 2021), in [0, 1]."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"coherency": Figure(True)}

    def update(self, saliency: Tensor, masked_saliency: Tensor) -> None:
        """Add a batch; see `coherency` for arguments and errors."""
        self._add(coherency(saliency, masked_saliency))


class L1Complexity(ImageMean):
    """Mean of the maps, the complexity in ADCC (Poppi et al. 2021), in [0, 1]."""

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {"l1_complexity": Figure(False)}

    def update(self, saliency: Tensor) -> None:
        """Add a batch; see `l1_complexity` for arguments and errors."""
        self._add(l1_complexity(saliency))


class ADCC(ImageMean):
    """Mean of average drop, coherency and complexity in one number (Poppi et al. 2021), in [0, 1].

    Note:
        Higher is better, as Poppi et al. define it; the arrow of paper 000's Tab. A6 points down.
    """

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"adcc": Figure(True, short="ADCC")}

    def update(self, p: Tensor, o: Tensor, saliency: Tensor, masked_saliency: Tensor) -> None:
        """Add a batch; see `adcc` for arguments and errors."""
        self._add(adcc(p, o, saliency, masked_saliency))


class ARCC(ImageMean):
    """Mean of ROAD, coherency and complexity in one number (Domeniconi et al. 2026), in [0, 1]."""

    higher_is_better = True
    figures: ClassVar[Mapping[str, Figure]] = {"arcc": Figure(True, short="ARCC")}

    def update(self, found: RoadProbabilities, saliency: Tensor, masked_saliency: Tensor) -> None:
        """Add a batch; see `arcc` for arguments and errors."""
        self._add(arcc(found, saliency, masked_saliency))


def _harmonic_mean(*parts: Tensor) -> Tensor:
    """Average float64 (B,) in [0, 1]; 0 where one of them is 0."""
    values = torch.stack(torch.broadcast_tensors(*(part.to(parts[0].device) for part in parts)))
    zero = (values <= 0).any(dim=0)
    mean = len(parts) / values.clamp(min=torch.finfo(values.dtype).tiny).reciprocal().sum(dim=0)
    return torch.where(zero, 0.0, mean)
