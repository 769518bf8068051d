"""Checks for images that are in a data set twice: overlap of splits, copies, near duplicates."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from learned_saliency.datamodules import ImageFacts, near_duplicate_groups
from learned_saliency.pipeline.data.content import Content
from learned_saliency.pipeline.data.findings import Findings, Severity

_FEW = 0.01  # share of a split of evaluation images, below which copies do not move a figure
_SHOWN = 4  # images in a message


class _Listed(NamedTuple):
    """Image as a split lists it."""

    split: str
    image_id: str
    labels: tuple[int, ...] | None

    def __str__(self) -> str:
        return f"{self.image_id} ({self.place})"

    @property
    def place(self) -> str:
        """Its split, and its classes where they are known."""
        if self.labels is None:
            return self.split
        if not self.labels:
            return f"{self.split}, no class"
        word = "class" if len(self.labels) == 1 else "classes"
        return f"{self.split}, {word} {', '.join(map(str, self.labels))}"


class _File(NamedTuple):
    """File of an image, and all places that list it; `key` is its path below the root."""

    key: str
    facts: ImageFacts
    listed: list[_Listed]

    def place(self, content: Content) -> str:
        return str(content.locate(self.key))


def check_copies(
    content: Content,
    read_contents: Callable[[Sequence[str]], Sequence[ImageFacts]],
    findings: Findings,
) -> None:
    """Check whether splits overlap and whether images are there twice, by their content.

    Where the perceptual hashes of images are known, near duplicates are found, too.

    Args:
        content: The data set.
        read_contents: Reads the digests of the whole contents of some images, by their ids.
        findings: Collects what is wrong.
    """
    files = _files(content)
    same = _copies(files, read_contents)
    spread = [group for group in same if len(_splits(group)) > 1]
    copied = Counter(listed.split for group in spread for file in group for listed in file.listed)
    for group in same:
        if len(_splits(group)) > 1:
            _tell_overlap(content, group, copied, findings)
        elif len(group) > 1:
            kind = "copy" if len(_labels(group)) <= 1 else "copy-label"
            message = f"has the same content as {_named(group[1:])}; keep one."
            findings.add(kind, group[0].place(content), message)
    for group in _near_duplicates([group[0] for group in same]):
        _tell_similar(content, group, findings)


def _files(content: Content) -> list[_File]:
    """Join what the splits list by the paths of the files; unreadable ones are left out."""
    files: dict[str, _File] = {}
    for split in content.splits:
        table = split.table
        for image, facts in enumerate(split.facts):
            if facts.problem:
                continue
            key = os.path.normpath(table.ids[image])
            own = table.classes.get(image)
            labels = None if own is None else tuple(sorted(own))
            file = files.setdefault(key, _File(key, facts, []))
            file.listed.append(_Listed(table.name, table.ids[image], labels))
    return list(files.values())


def _copies(
    files: Sequence[_File], read_contents: Callable[[Sequence[str]], Sequence[ImageFacts]]
) -> list[list[_File]]:
    """Group files of the same content, most of them alone."""
    alike: dict[str, list[_File]] = {}
    for file in files:
        alike.setdefault(file.facts.digest, []).append(file)
    likely = [file for group in alike.values() if len(group) > 1 for file in group]
    whole = read_contents([file.listed[0].image_id for file in likely])
    contents = {file.key: facts for file, facts in zip(likely, whole, strict=True)}
    same: dict[str, list[_File]] = {}
    for file in files:
        found = contents.get(file.key)
        # a file that is alone, or cannot be read any more, is no copy
        digest = file.key if found is None or found.problem else found.digest
        same.setdefault(digest, []).append(file)
    return list(same.values())


def _near_duplicates(files: Sequence[_File]) -> list[list[_File]]:
    """Group files of different contents that look alike, as far as their hashes are known."""
    known = [file for file in files if file.facts.look]
    hashes = [np.frombuffer(bytes.fromhex(file.facts.look), np.uint64) for file in known]
    numbers = near_duplicate_groups(np.array(hashes, np.uint64).reshape(-1, 4))
    groups: dict[int, list[_File]] = {}
    for file, number in zip(known, numbers.tolist(), strict=True):
        groups.setdefault(number, []).append(file)
    return [group for group in groups.values() if len(group) > 1]


def _splits(files: Iterable[_File]) -> set[str]:
    return {listed.split for file in files for listed in file.listed}


def _labels(files: Iterable[_File]) -> set[tuple[int, ...]]:
    """Collect the classes that are known, all of an image together."""
    labels = {listed.labels for file in files for listed in file.listed}
    return {own for own in labels if own is not None}


def _named(files: Iterable[_File]) -> str:
    listed = [str(listed) for file in files for listed in file.listed]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _tell_overlap(
    content: Content, group: list[_File], copied: Counter[str], findings: Findings
) -> None:
    """Tell of a content that several splits have; an error where that may move a figure."""
    sizes = {split.table.name: len(split.facts) for split in content.splits}
    shares = [copied[name] / sizes[name] for name in _splits(group) if name != "train"]
    severity = Severity.ERROR if max(shares) >= _FEW else Severity.WARNING
    if len(group) == 1:
        message = f"is listed as {_named(group)}; keep it in one split."
    else:
        message = f"has the content of images of several splits, {_named(group)}; keep one."
    findings.add("split-overlap", group[0].place(content), message, severity=severity)


def _tell_similar(content: Content, group: list[_File], findings: Findings) -> None:
    kind = "similar"
    if len(_splits(group)) > 1:
        kind = "split-similar"
    elif len(_labels(group)) > 1:
        kind = "similar-label"
    first, *others = group
    listed = first.listed[0]
    message = f"this image of {listed.place}, looks like {_named(others)}"
    findings.add(kind, first.place(content), f"{message}; see whether one should go.")
