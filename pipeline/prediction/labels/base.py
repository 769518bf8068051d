"""Contract of a format of annotation files: images with their objects in, files out."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Fragments = Callable[[], Iterator[Any]]
Files = Iterable[tuple[str, Iterable[str]]]


class LabelledObject(NamedTuple):
    """Object found in an image of H x W pixels.

    Attributes:
        label: Number of its class, from 0 on.
        probability: Probability of the class by the classifier, in [0, 1].
        mask: Its pixels, bool (H, W), at least one.
    """

    label: int
    probability: float
    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Smallest box x0 y0 x1 y1 around the pixels, x1 and y1 inside it."""
        columns = np.flatnonzero(self.mask.any(0))
        rows = np.flatnonzero(self.mask.any(1))
        return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


class LabelledImage(NamedTuple):
    """Image with the objects found in it.

    Attributes:
        number: Number of the file among all files, from 0 on.
        name: Name relative to the searched folder, with ``/``.
        stem: Name without its ending, which no other image has.
        width: Width W in pixels, as the image was turned when it was read.
        height: Height H, likewise.
        objects: The objects, the most probable class first; none where the map is flat.
    """

    number: int
    name: str
    stem: str
    width: int
    height: int
    objects: list[LabelledObject]


class LabelFormat(ABC):
    """Writer of annotations in one format, in a folder of its own.

    Files of single images are written by the process that has the image; what goes into files of
    all images is collected as fragments, which one process joins at the end.

    Args:
        class_names: Names of the classes, each different.

    Attributes:
        name: Name of the format, on the command line and of its folder.
    """

    name: ClassVar[str]

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)

    def image_files(self, image: LabelledImage) -> Iterable[tuple[str, bytes]]:
        """Give path and content of the files of an image; none by default."""
        return ()

    def fragment(self, image: LabelledImage) -> Any:
        """Give what the joined files say of an image, ready for JSON; nothing by default."""
        return None

    def joined_files(self, fragments: Fragments) -> Files:
        """Give path and text, in pieces, of the files of all images; none by default.

        Args:
            fragments: Called, as often as it takes, for the fragments in the order of the images.
        """
        return ()


def run_lengths(values: NDArray[np.bool_]) -> list[int]:
    """Count the runs of equal values of a row (n,), n >= 1; the first run is of false ones, or 0.

    Args:
        values: The row.
    """
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(values)]])).tolist()
    return [0, *lengths] if values[0] else lengths


def unique_names(names: Sequence[str]) -> list[str]:
    """Add its number to each name that several classes have."""
    seen = {name: names.count(name) for name in set(names)}
    return [f"{name} ({label})" if seen[name] > 1 else name for label, name in enumerate(names)]


def in_xml(text: str) -> str:
    """Replace the characters of a text that XML cannot hold, such as control characters."""
    return _NOT_IN_XML.sub("\ufffd", text)
