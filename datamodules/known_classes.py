"""Labels of a data set in the classes of a classifier that was trained on another one."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.metadata import SplitMetadata

_WORDNET = re.compile(r"n\d{8}(?!\d)", re.IGNORECASE)
_MANY = 0.9  # part of the names that a list of ImageNet's classes shares with timm's


class KnownClasses(NamedTuple):
    """A data set's labels in the classes of a classifier.

    Attributes:
        known: Classifier's class of each class of the data set, int64 (N,); -1 for none.
        names: Names of the data set's classes, N strings.
        kept: Whether the labels stay as they are.
    """

    known: np.ndarray
    names: list[str]
    kept: bool

    def apply(self, split: SplitMetadata) -> SplitMetadata:
        """Give a split with labels in [-1, N) the classifier's labels."""
        labels = np.where(split.labels == UNKNOWN, UNKNOWN, self.known[split.labels])
        if split.presence is None:
            return replace(split, labels=labels)
        known = self.known[: split.presence.shape[1]]
        presence = np.zeros((len(split), 1 + max(int(self.known.max()), 0)), dtype=bool)
        for column, label in enumerate(known.tolist()):
            if label != UNKNOWN:
                presence[:, label] |= split.presence[:, column]
        if split.sources is None:  # an image, whose label is the first of its classes
            labels = np.where(presence.any(1), presence.argmax(1), UNKNOWN)
        return replace(split, labels=labels, presence=presence)

    def told(self, images: int, matched: int) -> str:
        """Describe in a sentence how much of the data set the classifier knows.

        Args:
            images: Number of images with a label.
            matched: Number of them with a label that the classifier knows.
        """
        missing = [name for name, label in zip(self.names, self.known, strict=True) if label < 0]
        found = len(self.names) - len(missing)
        first = (
            f"the classifier knows {found} of the {len(self.names)} classes of the data set, "
            f"{matched} of {images} images"
        )
        if not missing:
            return first
        more = "" if len(missing) == 1 else f" and {len(missing) - 1} more"
        return f"{first}; unknown to it: {missing[0]}{more}, whose images count as unlabeled"


def match_classes(names: Sequence[str], known: Sequence[str]) -> KnownClasses:
    """Find the classes of a data set among those that a classifier knows.

    Names agree whatever their case, and with ``_``, ``-`` or a space between words. A name may list
    synonyms, separated by commas, of which one has to agree with one class alone. Of a classifier
    of ImageNet's classes also WordNet's synonyms and ids are known: ``n01440764``,
    ``n01440764_tench``. Where there are equally many classes, a class whose name also belongs to
    the classifier's class in the same place keeps its label, and so do all where the data set or
    the classifier has mere numbers as names.

    Args:
        names: Names of the data set's classes, in the order of the labels.
        known: Names of the classifier's classes, in the order of the logits.
    """
    if len(names) == len(known) and (_are_numbers(names) or _are_numbers(known)):
        return KnownClasses(np.arange(len(names)), list(names), True)
    spellings = [[[name] for name in known], [_parts(name) for name in known]]
    found = _find(names, spellings)
    same = list(range(len(known)))
    if UNKNOWN in found or (len(found) == len(same) and found != same):
        synonyms = _imagenet_synonyms(known)
        found = found if synonyms is None else _find(names, [*spellings, synonyms])
    return KnownClasses(np.array(found, np.int64), list(names), found == same)


def _are_numbers(names: Sequence[str]) -> bool:
    return all(name == str(label) for label, name in enumerate(names))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _parts(name: str) -> list[str]:
    return [part for part in name.split(",") if part.strip()]


def _unique(spellings: Sequence[Iterable[str]]) -> dict[str, int]:
    """Find the class of each spelling that belongs to one class alone."""
    found: dict[str, int] = {}
    for label, names in enumerate(spellings):
        for name in {_plain(name) for name in names}:
            found[name] = UNKNOWN if name in found else label
    return {name: label for name, label in found.items() if label != UNKNOWN}


def _find(names: Sequence[str], spellings: Sequence[Sequence[Sequence[str]]]) -> list[int]:
    """Find the class of each name.

    Args:
        names: The names.
        spellings: Lists of the spellings of each class, those that count more first.
    """
    tables = [_unique(level) for level in spellings]
    found = []
    for place, name in enumerate(names):
        words = _words(name)
        own = (level[place] for level in spellings if len(names) == len(level))
        if any(_plain(spelling) in words for level in own for spelling in level):
            found.append(place)
            continue
        hits = (table[word] for table in tables for word in words if word in table)
        found.append(next(hits, UNKNOWN))
    return found


def _words(name: str) -> list[str]:
    """List a name, its WordNet id and its synonyms."""
    identity = _WORDNET.match(name.strip())
    parts = [name, *([identity[0]] if identity else []), *_parts(name)]
    return [_plain(part) for part in parts]


def _imagenet_synonyms(known: Sequence[str]) -> list[list[str]] | None:
    """List WordNet's ids and synonyms of ImageNet's classes; None if ``known`` are others."""
    # timm takes half a second to import, which only data sets that need it are to wait for
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": len(known)})
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    synonyms = [_parts(info.index_to_description(label)) for label in range(len(known))]
    shared = sum(
        _plain(name).startswith(_plain(first[0]))
        for name, first in zip(known, synonyms, strict=True)
    )
    if shared < _MANY * len(known):
        return None
    return [[info.index_to_label_name(k), *names] for k, names in enumerate(synonyms)]
