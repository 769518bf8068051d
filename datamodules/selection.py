"""Selections of the images of a split, and its samples by images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.textfile import DataError


def keep_classes(metadata: SplitMetadata, classes: Sequence[int]) -> SplitMetadata:
    """Leave out the images of all classes but the given ones.

    Of images with several classes the others are taken away; those that had others alone are left
    out, and those that had none stay.

    Args:
        metadata: A split.
        classes: Labels to keep.

    Returns:
        The split with the images of these classes, in the same order, and their boxes and masks.

    Raises:
        DataError: If no image is left.
    """
    wanted = np.isin(metadata.labels, list(classes))
    kept = np.flatnonzero(wanted)
    if metadata.presence is not None:
        metadata, kept = _with_classes(metadata, classes)
        wanted = metadata.presence.any(1)
    if not wanted.any():
        raise DataError(
            f"{metadata.folder / 'class_labels.txt'}: no image is of the classes"
            f" {list(classes)}; choose others as `classes`."
        )
    return keep_places(metadata, kept)


def _with_classes(
    metadata: SplitMetadata, classes: Sequence[int]
) -> tuple[SplitMetadata, np.ndarray]:
    """Take all but the given classes away from a split whose images have any number of them.

    Returns:
        The split, and the places that stay: samples of these classes, or in a split of images those
        that have one, and what had no class before.
    """
    none = ~metadata.presence.any(1)
    presence = metadata.presence.copy()
    presence[:, np.setdiff1d(np.arange(presence.shape[1]), list(classes))] = False
    if metadata.sources is not None:
        stays, labels = np.isin(metadata.labels, list(classes)), metadata.labels
    else:
        stays = presence.any(1)
        labels = np.where(stays, presence.argmax(1), UNKNOWN)
    found = replace(metadata, presence=presence, labels=labels)
    return found, np.flatnonzero(stays | none)


def permute_labels(metadata: SplitMetadata, seed: int) -> SplitMetadata:
    """Permute the labels of a split among its images; each class keeps its number of images.

    Args:
        metadata: A split; images without a label keep none.
        seed: Seed of the permutation, 0 or more.
    """
    order = np.arange(len(metadata))
    known = order if metadata.presence is not None else np.flatnonzero(metadata.labels != UNKNOWN)
    order[known] = np.random.default_rng(seed).permutation(known)
    presence = None if metadata.presence is None else metadata.presence[order]
    values = None if metadata.values is None else metadata.values[order]
    return replace(metadata, labels=metadata.labels[order], presence=presence, values=values)


def draw_sample(metadata: SplitMetadata, count: int, seed: int) -> SplitMetadata:
    """Draw some images of a split at random, of each class as many as of the others or one less.

    Args:
        metadata: A split.
        count: Number of images, 1 or more; a split with no more images is returned whole.
        seed: Seed of the draw, 0 or more. Of a larger ``count`` with the same seed, the images of
            the smaller one are a part.

    Returns:
        The split with the drawn images, in the same order, and their boxes and masks. Where a class
        has too few images, others stand in.
    """
    if count >= len(metadata):
        return metadata
    order = np.random.default_rng(seed).permutation(len(metadata))
    labels = metadata.labels[order]
    # rank of each image among those of its class: the first ones of all classes come first
    by_class = np.argsort(labels, kind="stable")
    starts = np.unique(labels[by_class], return_index=True, return_counts=True)
    rank = np.empty(len(order), dtype=np.int64)
    rank[by_class] = np.arange(len(order)) - np.repeat(starts[1], starts[2])
    return keep_places(metadata, np.sort(order[np.argsort(rank, kind="stable")[:count]]))


def keep_places(metadata: SplitMetadata, kept: np.ndarray) -> SplitMetadata:
    """Keep the images at the given places, in ascending order, with their boxes and masks."""
    found: dict[str, object] = {"image_ids": [metadata.image_ids[i] for i in kept]}
    found["labels"] = metadata.labels[kept]
    for name in ("presence", "values"):
        if (told := getattr(metadata, name)) is not None:
            found[name] = told[kept]
    if metadata.sources is not None:
        found["sources"] = [metadata.sources[i] for i in kept]
    if metadata.boxes is not None:
        of_kept = np.isin(metadata.box_images, kept)
        found["sizes"] = metadata.sizes[kept]
        found["boxes"] = metadata.boxes[of_kept]
        found["box_images"] = np.searchsorted(kept, metadata.box_images[of_kept])
    if metadata.mask_paths is not None:
        found["mask_paths"] = [metadata.mask_paths[i] for i in kept]
        found["ignore_paths"] = [metadata.ignore_paths[i] for i in kept]
    return replace(metadata, **found)


def images_of(metadata: SplitMetadata) -> tuple[np.ndarray, np.ndarray]:
    """Find the images of samples: the first sample of each of M images, and each one's image.

    Returns:
        int64 (M,), in ascending order, and int64 (N,), in [0, M).
    """
    if metadata.sources is None:
        return np.arange(len(metadata)), np.arange(len(metadata))
    files = np.array(metadata.sources)
    _, firsts, inverse = np.unique(files, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return firsts[order], ranks[inverse]


def first_samples(metadata: SplitMetadata) -> SplitMetadata:
    """Keep the first sample of each image."""
    return keep_places(metadata, images_of(metadata)[0])
