"""Splits of a folder of photographs: those that are given, and those that are made."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.readers.annotations import Marks
from learned_saliency.datamodules.readers.folderrows import Photos
from learned_saliency.datamodules.readers.resemblance import copies, lookalikes, together
from learned_saliency.datamodules.readers.splitting import draw_splits
from learned_saliency.datamodules.textfile import DataError

_EVALUATED = ("val", "test")
_NAMED = 5  # classes that a message names, of many


class Rule(NamedTuple):
    """Rule by which splits are drawn.

    Attributes:
        fractions: Share of each class that each split gets where it is missing.
        seed: Seed of the draw.
        pattern: Regular expression of names that belong together; see `together`.
        remedy: Advice of how to get a split where there are too few images, which may name it as
            ``{split}``.
    """

    fractions: Mapping[str, float]
    seed: int
    pattern: re.Pattern[str] | None
    remedy: str = "add images, or a folder {split} with some of each class"


def group_pattern(group: str | None) -> re.Pattern[str] | None:
    """Compile the expression of names that belong together; None for none.

    Raises:
        DataError: If ``group`` is no regular expression.
    """
    try:
        return None if group is None else re.compile(group)
    except re.error as error:
        raise DataError(
            f"data.reader.group={group}: is no regular expression ({error}); correct it."
        ) from None


def check_draw(fractions: Mapping[str, float], seed: int) -> None:
    """Check how splits are to be drawn.

    Raises:
        ValueError: If a fraction is below 0, their sum 1 or more, or the seed below 0.
    """
    if min(fractions.values()) < 0 or sum(fractions.values()) >= 1:
        got = " and ".join(str(part) for part in fractions.values())
        raise ValueError(f"expected fractions of 0 or more, together below 1, got {got}")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")


class Splits(NamedTuple):
    """Splits of photographs.

    Attributes:
        photos: The photographs with a split each.
        report: What was made, in plain values.
        remarks: Sentences about what a person should know.
    """

    photos: Photos
    report: dict[str, Any]
    remarks: list[str]


def make_splits(
    photos: Photos, class_names: Sequence[str], marks: Marks, rule: Rule, known: Mapping[str, str]
) -> Splits:
    """Draw the splits that are missing out of the training images.

    Args:
        photos: The photographs; their splits are given for all, or for none.
        class_names: Names of the classes.
        marks: Boxes and masks. Where a part of the images has some, that part is drawn.
        rule: How to draw.
        known: Splits that were drawn before, by names.

    Returns:
        The splits. Photographs keep the ones that are given, also where they have copies in others.

    Raises:
        DataError: If no class has enough images for a split.
    """
    given = sorted(set(photos.splits) - {"", "train"})
    wanted = {s: part for s, part in rule.fractions.items() if part > 0 and s not in given}
    pool = [row for row, split in enumerate(photos.splits) if split in ("", "train")]
    drawn = photos.at(pool)
    groups = together(drawn.facts, drawn.names, rule.pattern)
    report: dict[str, Any] = {"given": given, "made": [*wanted]}
    remarks = _overlaps(photos)
    if not wanted:
        return Splits(photos, report, remarks)
    boxed, masked = marks.kinds(drawn.names)
    there = marks.boxes if boxed else marks.masks
    marked = [name in there for name in drawn.names] if boxed or masked else None
    draw = draw_splits(
        drawn.names, drawn.labels, groups.tolist(), wanted, rule.seed, marked=marked, known=known
    )
    _check_drawn(photos, wanted, draw.splits, rule.remedy)
    kind = "boxes" if boxed else "masks"
    few = "classes of too few images, or groups of similar ones, to be in each split"
    remarks += _named(few, draw.too_small, class_names)
    remarks += _named(f"classes without {kind}, all for training", draw.unmarked, class_names)
    remarks += _unmarked_splits(wanted, draw.splits, marked or [], kind)
    splits = list(photos.splits)
    for row, split in zip(pool, draw.splits, strict=True):
        splits[row] = split
    report |= {"seed": rule.seed, "fractions": wanted}
    report["kept_together"] = _listed(groups, drawn.names)
    return Splits(photos._replace(splits=splits), report, remarks)


def _check_drawn(photos: Photos, wanted: Iterable[str], splits: Sequence[str], remedy: str) -> None:
    """Check that each wanted split has images.

    Raises:
        DataError: If one has none.
    """
    for split in wanted:
        if split not in splits:
            without = ", or go without by data.reader.test_fraction=0 test=false"
            raise DataError(
                f"{photos.root}: its classes have too few images, or groups of similar ones, to "
                f"make {split} of them; {remedy.format(split=split)}"
                f"{without if split == 'test' else ''}."
            )


def _unmarked_splits(
    wanted: Iterable[str], splits: Sequence[str], marked: Sequence[bool], kind: str
) -> list[str]:
    """Name the splits that were drawn before there were boxes or masks, and got none of them."""
    with_some = {split for split, mark in zip(splits, marked, strict=False) if mark}
    return [
        f"{split} was drawn before there were {kind} and has none of them; another "
        "data.reader.seed draws it anew."
        for split in wanted
        if marked and split not in with_some
    ]


def _named(what: str, labels: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """Name classes in a sentence; none where there are no such classes."""
    names = ", ".join(class_names[label] for label in labels[:_NAMED])
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return [f"{what}: {names}{more}."] if labels else []


def _listed(groups: NDArray[np.int64], names: Sequence[str]) -> list[list[str]]:
    """List the names of each group of several photographs."""
    members: dict[int, list[str]] = defaultdict(list)
    for group, name in zip(groups.tolist(), names, strict=True):
        members[group].append(name)
    return [found for found in members.values() if len(found) > 1]


def _overlaps(photos: Photos) -> list[str]:
    """Tell of copies and of similar images in two given splits, and of copies in two classes."""
    remarks = []
    same, alike = copies(photos.facts), lookalikes(photos.facts)
    exact, similar = _across(same, photos.splits), _across(alike, photos.splits)
    for (first, second), (count, one, other) in sorted({**similar, **exact}.items()):
        copied = exact[first, second][0] if (first, second) in exact else 0
        count = max(count, similar[first, second][0] if (first, second) in similar else 0)
        remarks.append(
            f"images of {second} that are also in {first}: {copied} copies and {count - copied} "
            f"that look alike, such as {photos.names[other]} and {photos.names[one]}; nothing is "
            "moved."
        )
    twice = _across(same, list(map(str, photos.labels)))
    if twice:
        _, one, other = next(iter(twice.values()))
        count = sum(found[0] for found in twice.values())
        remarks.append(
            f"copies of images in another class: {count}, such as {photos.names[one]} and "
            f"{photos.names[other]}; remove the wrong ones."
        )
    return remarks


def _across(
    groups: NDArray[np.int64], splits: Sequence[str]
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Count the images of one split that share a group with an earlier split's.

    Returns:
        By pairs of splits, train before val before test: the number of images of the second, and an
        image of the first and of the second.
    """
    order = {"train": 0, "val": 1, "test": 2}
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for rows in members.values():
        present = sorted({splits[row] for row in rows}, key=lambda name: (order.get(name, 3), name))
        for position, second in enumerate(present):
            for first in present[:position]:
                one = next(row for row in rows if splits[row] == first)
                others = [row for row in rows if splits[row] == second]
                count, *pair = found.get((first, second), (0, one, others[0]))
                found[first, second] = (count + len(others), pair[0], pair[1])
    return found
