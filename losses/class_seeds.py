"""Pseudo-labels for F-CAM of images with any number of classes."""

import torch
from torch import Tensor

from learned_saliency.losses.partial_cross_entropy import IGNORE
from learned_saliency.losses.seeds import SeedSampler
from learned_saliency.ops import maximum_of_present


def joint_seeds(sampler: SeedSampler, maps: Tensor, present: Tensor, check: bool = True) -> Tensor:
    """Draw pseudo-labels of one foreground for all classes of an image.

    Eq. 1 and 2 of F-CAM are applied to the maximum of the maps of the image's classes: foreground
    lies where one of them is high, background where all are low. An image without a class shows no
    object: it has background alone, drawn anywhere.

    Args:
        sampler: Sampler of the pixels of one map.
        maps: Normalized maps of T classes, floating (B, T, H, W) in [0, 1].
        present: Whether the image has the class, bool (B, T); maps of others are not read.
        check: See `SeedSampler`.

    Returns:
        Labels of shape (B, H, W), int64: 1 foreground, 0 background, ``IGNORE`` elsewhere.
    """
    joint = maximum_of_present(maps, present)
    labels, empty = sampler(joint, check=check), sampler.without_object(joint)
    return torch.where(present.any(dim=1)[:, None, None], labels, empty)


def class_seeds(
    sampler: SeedSampler,
    maps: Tensor,
    targets: Tensor,
    present: Tensor,
    check: bool = True,
) -> Tensor:
    """Draw pseudo-labels of one foreground per class.

    Each class of an image has foreground of its own map (Eq. 1 and 2 of F-CAM), but no pixel where
    another class's normalized map is higher, since a pixel shows one of them. Background is that of
    `joint_seeds`. Pixels that several draws claim get no label.

    Args:
        sampler: Sampler of the pixels of one map.
        maps: Normalized maps of T classes, floating (B, T, H, W) in [0, 1].
        targets: These classes, int64 (B, T) in 0..C-1.
        present: Whether the image has the class, bool (B, T); maps of others are not read.
        check: See `SeedSampler`.

    Returns:
        Labels of shape (B, H, W), int64: 1 + class foreground, 0 background, ``IGNORE`` elsewhere.
    """
    background = joint_seeds(sampler, maps, present, check) == 0
    drawn = sampler(maps.flatten(0, 1), check=check).view(maps.shape) == 1
    highest = maps >= maximum_of_present(maps, present)[:, None]
    drawn = drawn & highest & present[:, :, None, None]
    claims = drawn.sum(dim=1) + background
    labels = (drawn * (1 + targets)[:, :, None, None]).sum(dim=1)  # 0 where the background claims
    return torch.where(claims == 1, labels, IGNORE)
