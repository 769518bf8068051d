"""Splits made of one list of images: seeded, in equal shares of all classes, groups kept whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Draw(NamedTuple):
    """Result of drawing evaluation splits.

    Attributes:
        splits: Split of each image, "train" where it was not drawn.
        too_small: Labels of the classes that have too few images, or groups of them, to be in every
            split.
        unmarked: Labels of the classes of which no image may be drawn.
    """

    splits: list[str]
    too_small: list[int]
    unmarked: list[int]


def merged_groups(*groupings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join groups that share an image.

    Args:
        groupings: Numbers of groups, int64 of shape (N,) each; equal numbers are one group.

    Returns:
        The index of the first image of each image's group, int64 of shape (N,).
    """
    parents = np.arange(len(groupings[0]))
    changed = True
    while changed:  # a few rounds: each one carries the lowest index through whole groups
        before = parents.copy()
        for groups in groupings:
            _, inverse = np.unique(groups, return_inverse=True)
            lowest = np.full(inverse.max(initial=-1) + 1, len(parents))
            np.minimum.at(lowest, inverse, parents)
            parents = lowest[inverse]
        changed = not np.array_equal(before, parents)
    return parents


def draw_splits(
    names: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[int],
    fractions: Mapping[str, float],
    seed: int,
    *,
    marked: Sequence[bool] | None = None,
    known: Mapping[str, str] | None = None,
) -> Draw:
    """Draw evaluation splits of images; what is not drawn is for training.

    Of each class every split gets its fraction, rounded, and at least one image where the class has
    an image for each split and one for training. The images of a group come into the same split,
    and are counted for the class of the first. Groups are drawn in an order that depends on the
    seed and their first names alone: further images change little.

    Args:
        names: N different names of images.
        labels: Their classes.
        groups: Their groups, which are not separated.
        fractions: Share of each class that each split gets, above 0; their sum below 1.
        seed: Seed of the order, 0 or more.
        marked: Whether an image may be drawn, such as for having boxes; None for all. Groups
            without such images are for training.
        known: Splits of images from an earlier draw, by their names: these are kept, and the rest
            of a group follows.

    Returns:
        The splits, and the classes that are not in all of them.
    """
    members: dict[int, list[int]] = {}
    for image, group in enumerate(groups):
        members.setdefault(int(group), []).append(image)
    ordered = sorted(members.values(), key=lambda group: _rank(seed, names[group[0]]))
    weights = [1] * len(names) if marked is None else [*map(int, marked)]
    splits = [(known or {}).get(name, "") for name in names]
    by_class: dict[int, list[list[int]]] = {}
    for group in ordered:
        kept = next((splits[image] for image in group if splits[image]), "")
        for image in group:
            splits[image] = splits[image] or kept
        by_class.setdefault(labels[group[0]], []).append(group)
    too_small, unmarked = [], []
    for label in sorted(by_class):
        if not any(weights[image] for group in by_class[label] for image in group):
            unmarked.append(label)
        elif not _draw_class(by_class[label], weights, fractions, splits):
            too_small.append(label)
    return Draw([split or "train" for split in splits], too_small, unmarked)


def _rank(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()


def _draw_class(
    groups: Sequence[Sequence[int]],
    weights: Sequence[int],
    fractions: Mapping[str, float],
    splits: list[str],
) -> bool:
    """Draw the groups of one class; return whether each split has one of them, and training too."""
    sizes = [sum(weights[image] for image in group) for group in groups]
    total = sum(len(group) for group in groups)
    missing = _targets(total, sum(sizes), fractions)
    filled: Counter[str] = Counter()
    free = []
    for group, size in zip(groups, sizes, strict=True):
        if splits[group[0]]:
            filled[splits[group[0]]] += 1
            missing[splits[group[0]]] = missing.get(splits[group[0]], 0) - size
        else:
            free.append((group, size))
    left = len(free)

    def take(group: Sequence[int], size: int, split: str) -> None:
        nonlocal left
        missing[split] -= size
        filled[split] += 1
        left -= 1
        for image in group:
            splits[image] = split

    for group, size in free:
        needy = max(fractions, key=lambda split: missing[split])
        if 0 < size <= missing[needy] and left + filled["train"] > 1:
            take(group, size, needy)
    for split in fractions:  # one that got nothing takes the smallest group, though it is too large
        rest = [(group, size) for group, size in free if size and not splits[group[0]]]
        if not filled[split] and missing[split] > 0 and rest and left + filled["train"] > 1:
            take(*min(rest, key=lambda pair: pair[1]), split)
    return all(filled[split] for split in fractions) and left + filled["train"] > 0


def _targets(total: int, drawable: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Compute how many images of a class each split gets.

    Args:
        total: Images of the class.
        drawable: Those of them that may be drawn.
        fractions: Share of each split.
    """
    if total <= len(fractions):
        return dict.fromkeys(fractions, 0)
    targets = {split: max(1, round(part * total)) for split, part in fractions.items()}
    most = min(drawable, total - 1)
    while sum(targets.values()) > most:
        targets[max(targets, key=lambda split: targets[split] / fractions[split])] -= 1
    return targets
