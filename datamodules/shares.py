"""Shares of a split: one whose boxes or masks are learned from, the other to choose by."""

import numpy as np

from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.selection import keep_places
from learned_saliency.datamodules.textfile import DataError


def split_shares(
    metadata: SplitMetadata, share: float, seed: int
) -> tuple[SplitMetadata, SplitMetadata]:
    """Split the images that have masks, or else boxes, into two shares with all classes in each.

    An image is in one share alone. Of a class each share has its part of the images, up to one more
    or less; which ones is drawn at random. An image without a mask (or, where the split has boxes
    alone, without a box) is in neither share: to learn that all of it is background would be wrong.

    Args:
        metadata: A split with boxes or masks.
        share: Part of the images in the first share, in (0, 1); each share has at least one.
        seed: Seed of the draw, 0 or more.

    Returns:
        Both shares, with their boxes and masks and in the split's order.

    Raises:
        ValueError: If an argument is out of range.
        DataError: If the split has neither boxes nor masks, too few images, or images with several
            classes each.
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share in (0, 1), got {share}")
    if metadata.presence is not None:
        raise DataError(
            f"{metadata.folder}: its images have any number of classes each, for which learning "
            "from boxes and masks is not defined; choose a model that learns from labels alone."
        )
    if metadata.boxes is None and metadata.mask_paths is None:
        raise DataError(
            f"{metadata.folder}: has neither boxes nor masks to learn from; add them, as "
            "localization.txt, or choose a model that learns from labels alone."
        )
    places = _with_truth(metadata)
    if len(places) < 2:
        raise DataError(
            f"{metadata.folder}: {len(places)} of its images have boxes or masks, of which one "
            "share is learned from and the other one chooses; give at least two."
        )
    generator = np.random.default_rng(seed)
    places, labels = generator.permutation(places), np.unique(metadata.labels)
    turns = generator.permutation(len(labels))[np.searchsorted(labels, metadata.labels)]
    ordered = places[np.argsort(turns[places], kind="stable")]  # class by class
    count = len(ordered) - min(max(round(share * len(ordered)), 1), len(ordered) - 1)
    others = (2 * np.arange(count) + 1) * len(ordered) // (2 * count)  # evenly spaced
    chosen = np.zeros(len(ordered), bool)
    chosen[others] = True
    learned, rest = np.sort(ordered[~chosen]), np.sort(ordered[chosen])
    return keep_places(metadata, learned), keep_places(metadata, rest)


def _with_truth(metadata: SplitMetadata) -> np.ndarray:
    """Find the places of the images that have a mask, or a box where there are boxes alone."""
    if metadata.mask_paths is not None:
        return np.flatnonzero([bool(paths) for paths in metadata.mask_paths])
    return np.unique(metadata.box_images)
