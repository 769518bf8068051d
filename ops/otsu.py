"""Thresholds by Otsu's method for a batch of saliency maps."""

import torch
from torch import Tensor

_LEVELS = 256


def to_8_bit(maps: Tensor, check: bool = True) -> Tensor:
    """Quantize maps to 8 bits by truncation, ``int(255 * value)``.

    Args:
        maps: Maps of shape (B, H, W), floating point in [0, 1] or uint8 already.
        check: Whether to look for values outside, for which the host of a GPU waits.

    Returns:
        Levels of shape (B, H, W), uint8 in 0..255; ``maps`` itself where it is uint8.

    Raises:
        TypeError: If ``maps`` is neither floating point nor uint8.
        ValueError: If ``maps`` is not 3-D, is empty, holds a NaN or leaves [0, 1].
    """
    check_maps(maps, check)
    return maps if maps.dtype == torch.uint8 else (255 * maps.detach()).to(torch.uint8)


def check_maps(maps: Tensor, values: bool = True) -> None:
    """Reject what is no batch of maps (B, H, W) of floats or uint8, or has values beyond [0, 1]."""
    if not (maps.is_floating_point() or maps.dtype == torch.uint8):
        raise TypeError(f"maps must be floating point or uint8, got {maps.dtype}")
    if maps.dim() != 3 or maps.numel() == 0:
        raise ValueError(f"maps must be a non-empty (B, H, W), got shape {tuple(maps.shape)}")
    if maps.dtype == torch.uint8 or not values:
        return
    low, high = torch.stack(maps.detach().aminmax()).tolist()
    if not 0 <= low <= high <= 1:  # a NaN fails every comparison
        raise ValueError(f"maps must lie in [0, 1] without NaN, got values in [{low}, {high}]")


def otsu_threshold(maps: Tensor) -> Tensor:
    """Find the 8-bit level that separates each map into two classes (Otsu 1979).

    The level maximizes the variance between the pixels up to it and those above it, on the map
    truncated to 8 bits; the smallest level wins among equals. It is the integer that
    ``skimage.filters.threshold_otsu`` gives for the 8-bit map, also where scikit-image's rounding
    decides.

    Args:
        maps: Maps of shape (B, H, W), floating point in [0, 1] or uint8.

    Returns:
        Thresholds of shape (B,), int64 in 0..254 on the device of ``maps``: pixels above it are
        foreground. -1 for a map that has a single 8-bit level.

    Raises:
        TypeError: If ``maps`` is neither floating point nor uint8.
        ValueError: If ``maps`` is not 3-D, is empty, holds a NaN or leaves [0, 1].

    Example:
        >>> otsu_threshold(torch.tensor([[[0.1, 0.2, 0.8, 0.9]], [[0.5, 0.5, 0.5, 0.5]]]))
        tensor([51, -1])
    """
    return otsu_of_levels(to_8_bit(maps))


def otsu_of_levels(levels: Tensor) -> Tensor:
    """Find :func:`otsu_threshold` of maps (B, H, W) in uint8; CUDA's host does not wait for it."""
    counts = _histograms(levels)
    if not counts.is_cuda:  # so that a device without float64 gives the same integer, too
        counts = counts.cpu()
    best, level = _between_class_variance(counts).max(dim=1)
    return level.masked_fill(best < 0, -1).to(levels.device)


def _histograms(levels: Tensor) -> Tensor:
    """Count the pixels of each level, (B, H, W) uint8 to (B, 256) int64."""
    batch = levels.shape[0]
    first_bin = torch.arange(0, batch * _LEVELS, _LEVELS, dtype=torch.int32, device=levels.device)
    bins = (levels + first_bin.view(batch, 1, 1)).flatten()  # 256 bins per image
    if bins.is_cuda:  # where the host would wait for the number of bins that `bincount` finds
        counts = torch.zeros(batch * _LEVELS, dtype=torch.int64, device=bins.device)
        return counts.index_add_(0, bins, torch.ones_like(bins, dtype=torch.int64)).view(batch, -1)
    return torch.bincount(bins, minlength=batch * _LEVELS).view(batch, _LEVELS)


def _between_class_variance(counts: Tensor) -> Tensor:
    """Return the unnormalized between-class variance of the thresholds 0..254.

    Args:
        counts: Histograms of shape (B, 256), int64.

    Returns:
        Variances of shape (B, 255), float64; -1 where a class has no pixel.
    """
    mass = counts * torch.arange(_LEVELS, device=counts.device)
    # The first class holds the levels 0..k, the second k+1..255.
    size1, size2 = (part.double() for part in _split_sums(counts))
    mass1, mass2 = (part.double() for part in _split_sums(mass))
    mean_gap = mass1 / size1 - mass2 / size2
    # scikit-image rounds this product to float32, which decides between two thresholds that are
    # equal in exact arithmetic, as on a symmetric histogram.
    weight = (size1.float() * size2.float()).double()
    separates = (size1 > 0) & (size2 > 0)
    return (weight * mean_gap.square()).masked_fill(~separates, -1.0)


def _split_sums(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sum ``values`` (B, 256) up to each level 0..254, and above that level; both (B, 255)."""
    below = values.cumsum(dim=1)
    return below[:, :-1], (below[:, -1:] - below)[:, :-1]
