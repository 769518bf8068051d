"""Ground truth of cues: pairs of classes that differ in few parts, and the places of the parts."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor


class ClassPair(NamedTuple):
    """Two classes and the parts that tell them apart.

    Attributes:
        first: Label of one class.
        second: Label of the other class, larger than ``first``.
        parts: Labels of the parts with different attributes, increasing, 1 or more.
    """

    first: int
    second: int
    parts: tuple[int, ...]


class Look(NamedTuple):
    """Color and form of a part, each a word; None where the class does not tell it."""

    color: str | None
    form: str | None


class PartReader(Protocol):
    """Interface of a data set with parts, for cue localization and questions.

    Attributes:
        names: Names of the parts; the label of a part is its position here plus one.
        pairs: Pairs of classes that differ in 1 to 3 parts, see `class_pairs`.
        looks: Look of the parts of each class, a row of as many as there are parts; None where the
            data set describes its parts otherwise.
    """

    names: Sequence[str]
    pairs: list[ClassPair]
    looks: list[list[Look]] | None

    def read(self, image_ids: Sequence[str], size: int | Sequence[int]) -> Tensor:
        """Read the part of every pixel of some images, resized as its image is.

        Args:
            image_ids: B ids as in the metadata.
            size: Side of a square in pixels, or height H and width W.

        Returns:
            Part labels, uint8 of shape (B, H, W); 0 where there is no part.
        """


def class_pairs(attributes: np.ndarray, parts: np.ndarray, max_parts: int = 3) -> list[ClassPair]:
    """Find the pairs of classes that differ in 1 to ``max_parts`` parts (paper 001, Sec. 5.2).

    Args:
        attributes: Attribute values of each class, any type, shape (C, A).
        parts: Whether an attribute describes a part, bool (A, P); an attribute may describe several
            parts or none.
        max_parts: Largest number of differing parts, at least 1.

    Returns:
        The pairs, sorted by their number of parts, then by their labels.
    """
    pairs = []
    for first in range(len(attributes) - 1):
        differs = attributes[first + 1 :] != attributes[first]  # (C - first - 1, A)
        different = differs.astype(np.int64) @ parts.astype(np.int64) > 0  # (C - first - 1, P)
        counts = different.sum(1)
        for row in np.flatnonzero((counts > 0) & (counts <= max_parts)):
            labels = tuple(int(part) + 1 for part in np.flatnonzero(different[row]))
            pairs.append(ClassPair(first, first + 1 + int(row), labels))
    return sorted(pairs, key=lambda pair: (len(pair.parts), pair))
