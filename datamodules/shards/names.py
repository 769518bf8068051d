"""Names of shards: patterns, and ranges in braces."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from learned_saliency.datamodules.textfile import DataError

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 1_000_000  # shards


def expand_braces(pattern: str) -> list[str]:
    """Write out the ranges in a pattern: ``train-{000..002}.tar`` are three names.

    The numbers have as many digits as the first one of the range.

    Raises:
        DataError: If a range ends before it begins, or there are more than a million names.
    """
    parts = _RANGE.split(pattern)
    ranges = list(zip(parts[1::3], parts[2::3], strict=True))
    count = 1
    for first, last in ranges:
        if int(last) < int(first):
            raise DataError(f"{pattern}: the range {first}..{last} ends before it begins.")
        count *= int(last) - int(first) + 1
    if count > _MOST:
        raise DataError(f"{pattern}: stands for {count} shards, more than {_MOST}.")
    numbers = [
        [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
        for first, last in ranges
    ]
    return [
        "".join(itertools.chain(*zip(parts[::3], (*chosen, ""), strict=True)))
        for chosen in itertools.product(*numbers)
    ]


def find_shards(root: Path, patterns: Sequence[str]) -> list[str]:
    """List the shards below a folder that patterns name, each once, in the order of the patterns.

    Args:
        root: The folder.
        patterns: Names relative to it, with ``*``, ``?``, ``[...]`` and ranges ``{000..099}``.

    Raises:
        DataError: If a pattern names no shard, a named one is missing, or it leads elsewhere.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        for name in expand_braces(pattern):
            path = Path(name)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(f"{pattern}: names of shards are relative to {root}; correct it.")
            try:
                here = sorted(file for file in root.glob(name) if file.is_file())
            except ValueError:
                here = []
            if not here:
                raise DataError(f"{root / name}: there is no such shard; restore it or correct it.")
            found.update((file.relative_to(root).as_posix(), None) for file in here)
    for name in found:
        if not name.endswith(".tar"):
            raise DataError(f"{root / name}: the names of shards end in .tar; rename it.")
    return list(found)
