"""Findings about a data set: their kinds, and how grave they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_PLACE = re.compile(r"(?P<place>/.*?)(?:, line (?P<line>\d{1,18}))?: (?P<message>.+)", re.DOTALL)


class Severity(IntEnum):
    """Weight of a finding.

    An error stops a training or falsifies its figures. A warning is worth a look. A note is no
    fault.
    """

    NOTE = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        """Name in a report."""
        return self.name.lower()


_ERRORS = {
    "download": "Parts of the download that are missing",
    "reader": "Refusals of the data set's reader",
    "split": "Splits that are missing",
    "metadata": "Faults of the metadata",
    "outside": "Paths that lead out of the root",
    "image-missing": "Images that are missing",
    "image-damaged": "Images that cannot be read",
    "channels": "Images of other channels than are wanted",
    "size": "Images of another size than the metadata says",
    "turned-size": "Sizes that do not fit how images are turned",
    "box-missing": "Images without a box in a split that has boxes",
    "box": "Boxes that cannot be",
    "mask-missing": "Masks that are missing",
    "mask-damaged": "Masks that cannot be read",
    "mask-shape": "Masks of another shape than their image",
    "masks-empty": "Splits in whose masks nothing is marked",
    "label": "Labels that cannot be",
    "split-overlap": "Images that are in two splits",
    "refused": "Refusals of a training",
}
_WARNINGS = {
    "count": "Counts that differ from the published ones",
    "turned": "Images that their EXIF data turn, while boxes and masks refer to the stored pixels",
    "box-thin": "Boxes without an area",
    "box-whole": "Splits in which many boxes are the whole image",
    "mask-empty": "Images in whose masks nothing is marked",
    "ignored": "Images that their ignore masks cover wholly",
    "class-unused": "Classes without a training image",
    "class-tied": "Classes that never appear without another one",
    "class-name": "Names that several classes share",
    "split-similar": "Images that look like one of another split",
    "copy": "Copies of images within a split",
    "copy-label": "Copies of images with different labels",
    "similar-label": "Images that look alike and have different labels",
}
_NOTES = {
    "form": "Channels and depth of the images",
    "option": "Optional parts of the download that are not there",
    "split-option": "Splits that are not there",
    "classless": "Splits with images that have none of the classes",
    "mask-size": "Splits whose masks have other sizes than their images",
    "similar": "Images that look alike within a split",
    "unlisted": "Images below the root that no split lists",
    "unsearched": "Checks that were left out",
}
#: Titles of the kinds of findings, the gravest first, and the severity that each has by itself.
KINDS = {
    kind: (title, severity)
    for severity, kinds in (
        (Severity.ERROR, _ERRORS),
        (Severity.WARNING, _WARNINGS),
        (Severity.NOTE, _NOTES),
    )
    for kind, title in kinds.items()
}


class Finding(NamedTuple):
    """Finding about a file.

    Attributes:
        kind: Key of `KINDS`.
        severity: How grave it is.
        place: The file or folder.
        line: Number of the line of a text file, from 1; None for other files.
        message: Fault and remedy, the end of a sentence that begins with the place.
    """

    kind: str
    severity: Severity
    place: str
    line: int | None
    message: str

    def __str__(self) -> str:
        """Write the finding as a sentence."""
        line = "" if self.line is None else f", line {self.line}"
        return f"{self.place}{line}: {self.message}"


class Findings:
    """Collection of findings."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._most = Severity.ERROR

    def add(
        self,
        kind: str,
        place: str | Path,
        message: str,
        line: int | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Add a finding.

        Args:
            kind: Key of `KINDS`.
            place: The file or folder.
            message: Fault and remedy, without the place.
            line: Number of the line, from 1.
            severity: How grave it is; by default as its kind.
        """
        severity = KINDS[kind][1] if severity is None else severity
        self._found.append(Finding(kind, min(severity, self._most), str(place), line, message))

    def add_refusal(self, kind: str, place: str | Path, error: Exception) -> None:
        """Add the sentence of an error, which may begin with another place and a line."""
        found = _PLACE.match(str(error))
        if found is None:
            self.add(kind, place, str(error))
        else:
            line = None if found["line"] is None else int(found["line"])
            self.add(kind, found["place"], found["message"], line)

    @contextmanager
    def at_most(self, severity: Severity) -> Iterator[None]:
        """Lower what is added meanwhile to a severity."""
        before, self._most = self._most, min(severity, self._most)
        try:
            yield
        finally:
            self._most = before

    def of(self, severity: Severity) -> dict[str, list[Finding]]:
        """Return the findings of a severity by their kinds, in the order of `KINDS`."""
        found: dict[str, list[Finding]] = {}
        for finding in self._found:
            if finding.severity == severity:
                found.setdefault(finding.kind, []).append(finding)
        return {kind: found[kind] for kind in KINDS if kind in found}

    def count(self, severity: Severity) -> int:
        """Count the findings of a severity."""
        return sum(finding.severity == severity for finding in self._found)

    def __iter__(self) -> Iterator[Finding]:
        """Go through all findings in the order in which they were added."""
        return iter(self._found)
