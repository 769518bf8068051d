from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from learned_saliency.metrics.checks import constant_maps
from learned_saliency.metrics.figures import Figure
from learned_saliency.metrics.image_mean import ImageMean
from learned_saliency.metrics.masking import check_maps


def noise_changes(
    explain: Callable[[Tensor], Tensor],
    images: Tensor,
    saliency: Tensor,
    *,
    generators: Sequence[torch.Generator],
    samples: int = 10,
    radius: float = 0.2,
) -> Tensor:
    """Measure how much each map changes when uniform noise is added to its image.

    The change is the norm of the maps' difference over the norm of the map, as in captum and
    Quantus. Paper 000 (App. B.2) takes 10 samples and the radius 0.2.

    A constant map has the change 1 in every sample. That is the change of a map that becomes zeros,
    so that a map that tells nothing counts alike before and after the noise. By the definition it
    would be best: the explanation of the least sensitivity is a constant (Yeh et al.).

    Args:
        explain: Images (B, 3, H, W) to maps (B, H, W) in [0, 1], for the classes of the first maps.
        images: Shape (B, 3, H, W), as the model takes them.
        saliency: Maps (B, H, W) in [0, 1] of the images.
        generators: A generator on the CPU per image, from which its noise is drawn.
        samples: Number of noisy images, at least 1; each costs one explanation.
        radius: Bound of the noise per value of an image, above 0.

    Returns:
        Changes, float64 (B, samples), at least 0.

    Raises:
        TypeError: If images or maps are not of a floating type.
        ValueError: If shapes do not fit, a map leaves [0, 1], or an option is out of range.
    """
    check_maps(images, saliency)
    if len(generators) != len(images):
        raise ValueError(f"expected {len(images)} generators, got {len(generators)}")
    if samples < 1 or not radius > 0:
        raise ValueError(f"samples must be at least 1 and radius above 0: {samples}, {radius}")
    constant = constant_maps(saliency)
    maps = saliency.detach().double().flatten(1)
    norms = torch.where(constant, 1.0, maps.norm(dim=1))
    changes = []
    for _ in range(samples):
        drawn = torch.stack([torch.rand(images.shape[1:], generator=g) for g in generators])
        found = explain(images + radius * (2 * drawn - 1).to(images))
        check_maps(images, found)
        distance = (found.detach().double().flatten(1) - maps).norm(dim=1)
        changes.append(torch.where(constant, 1.0, distance / norms))
    return torch.stack(changes, dim=1)


def max_sensitivity(changes: Tensor) -> Tensor:
    """Find the largest change of each map (Yeh et al., NeurIPS 2019, Definition 3.1).

    Args:
        changes: Shape (B, N) with N of at least 1, at least 0; from `noise_changes`.

    Returns:
        Float64 (B,), at least 0.

    Raises:
        TypeError: If ``changes`` is not of a floating type.
        ValueError: If ``changes`` is not (B, N), or holds a NaN or a negative number.
    """
    if not changes.is_floating_point():
        raise TypeError(f"changes must be of a floating type, got {changes.dtype}")
    if changes.dim() != 2 or changes.shape[1] < 1:
        raise ValueError(f"expected changes (B, N) with N > 0, got {tuple(changes.shape)}")
    if not bool((changes >= 0).all()):  # catches NaN
        raise ValueError("changes must be at least 0")
    return changes.detach().double().amax(dim=1)


class MaxSensitivity(ImageMean):
    """Mean over images of the largest relative change under noise (paper 000, App. B.2).

    Note:
        It cannot tell a map that never looks at the image, a fixed box, from a stable one: both
        have 0. Read it beside the metrics of the classifier's answers.
    """

    higher_is_better = False
    figures: ClassVar[Mapping[str, Figure]] = {"max_sensitivity": Figure(False, short="MS")}

    def update(self, changes: Tensor) -> None:
        """Add a batch; see `max_sensitivity` for arguments and errors."""
        self._add(max_sensitivity(changes))
