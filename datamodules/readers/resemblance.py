"""Photographs that belong together: copies, those that look alike, and those of one name."""

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from learned_saliency.datamodules.decoding import AS_STORED, Decoding
from learned_saliency.datamodules.inspection import ImageFacts, inspect_image
from learned_saliency.datamodules.opening import ImageSource
from learned_saliency.datamodules.readers.splitting import merged_groups
from learned_saliency.datamodules.similarity import near_duplicate_groups

_AT_A_TIME = 256  # photographs


def inspect_all(
    images: Iterable[ImageSource], look: bool, decoding: Decoding = AS_STORED
) -> list[ImageFacts]:
    """Read the facts about photographs in threads.

    Args:
        images: N photographs; few are held at a time.
        look: Whether perceptual hashes are made.
        decoding: See `inspect_image`.

    Returns:
        The facts about each.
    """
    images, facts = iter(images), []
    with ThreadPoolExecutor(max_workers=min(16, 4 * (os.cpu_count() or 1))) as pool:
        while some := list(islice(images, _AT_A_TIME)):
            facts += pool.map(partial(inspect_image, look=look, decoding=decoding), some)
    return facts


def copies(facts: Sequence[ImageFacts]) -> NDArray[np.int64]:
    """Number photographs by their content: int64 (N,), equal for copies of a file."""
    return _numbered([fact.digest for fact in facts])


def lookalikes(facts: Sequence[ImageFacts]) -> NDArray[np.int64]:
    """Number photographs by what they show: int64 (N,), equal for near duplicates.

    Without perceptual hashes each is a group of its own.
    """
    if not facts or not all(fact.look for fact in facts):
        return np.arange(len(facts))
    looks = b"".join(bytes.fromhex(fact.look) for fact in facts)
    return near_duplicate_groups(np.frombuffer(looks, np.uint64).reshape(len(facts), -1))


def together(
    facts: Sequence[ImageFacts], names: Sequence[str], pattern: re.Pattern[str] | None
) -> NDArray[np.int64]:
    """Group photographs that must not be in two splits.

    Args:
        facts: The N photographs, as `inspect_all` reads them.
        names: Their names.
        pattern: Regular expression: photographs for whose names its first group (the whole match,
            where it has none) is the same text belong together.

    Returns:
        The index of the first photograph of each one's group, int64 (N,).
    """
    found = [copies(facts), lookalikes(facts)]
    if pattern is not None:
        found.append(_numbered([_named_group(pattern, name) for name in names]))
    return merged_groups(*found)


def _named_group(pattern: re.Pattern[str], name: str) -> str:
    match = pattern.search(name)
    # a name cannot hold a line break, so that one without a match is alone
    return f"{name}\n" if match is None else str(match[1] if pattern.groups else match[0])


def _numbered(keys: Sequence[str]) -> NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
