"""Search for the files that a person means by a file, a folder or a pattern."""

from __future__ import annotations

import glob
import itertools
import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from learned_saliency.pipeline.cli import UserError, check_images


class Found(NamedTuple):
    """A file to look at.

    Attributes:
        path: Path of the file.
        name: Name relative to the searched folder, with ``/``; parts above it are left out.
        stem: Name of its annotations, see `labelling.with_stems`; empty where none are asked for.
    """

    path: Path
    name: str
    stem: str = ""


def find_files(sources: Sequence[str], leave_out: Path | None = None) -> Iterator[Found]:
    """Find the files of several sources, one source after the other, each in alphabetical order.

    A folder is searched with its subfolders, except for names that begin with a dot; links to
    folders are not followed. Files are yielded during the walk, so that any number of them takes no
    memory.

    Args:
        sources: Files, folders, or patterns with ``*``, ``?``, ``[...]`` and ``**``.
        leave_out: Folder whose files do not count.

    Yields:
        The files, named relative to the folder or the fixed part of the pattern; with several
        sources, relative to the folder that holds all sources.

    Raises:
        UserError: If a source is not there or a pattern matches nothing, before the first file.
    """
    if not sources:
        raise UserError("images has no value: give a file, a folder or a pattern.")
    given = [os.path.expanduser(source) for source in sources]
    for source in given:
        check_images(source)
    base = os.path.commonpath([os.path.abspath(_base(source)) for source in given])
    skipped = None if leave_out is None else os.path.abspath(leave_out)
    return _walk(given, base, skipped)


def draw_files(files: Iterable[Found], count: int, is_image: Callable[[Path], bool]) -> list[Found]:
    """Draw some images at random, always the same of the same files.

    Args:
        files: The files.
        count: Number of images, 1 or more.
        is_image: Function that tells whether a file is one; it is asked until there are enough.

    Returns:
        The images in their order among the files; all of them where there are no more than
        ``count``.
    """
    found = list(files)
    order = random.Random(0).sample(range(len(found)), len(found))
    images = (number for number in order if is_image(found[number].path))
    return [found[number] for number in sorted(itertools.islice(images, count))]


def _base(source: str) -> str:
    """Return the folder that names are relative to."""
    if os.path.isdir(source):
        return source
    folder = os.path.dirname(source)
    while not os.path.lexists(source) and glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder or "."


def _walk(sources: list[str], base: str, skipped: str | None) -> Iterator[Found]:
    for source in sources:
        for path in _files(source):
            full = os.path.abspath(path)
            if skipped is None or not full.startswith(skipped + os.sep):
                yield Found(Path(path), _name(full, base))


def _name(path: str, base: str) -> str:
    """Name a file by its path from the base; where it lies elsewhere, by its whole path.

    A name never leads out of the folder that it is joined to.
    """
    name = os.path.relpath(path, base)
    if name.split(os.sep)[0] == os.pardir:  # a pattern with ".." behind its wildcards
        name = os.path.splitdrive(path)[1].lstrip(os.sep)
    return name.replace(os.sep, "/")


def _files(source: str) -> Iterator[str]:
    if os.path.isdir(source):
        yield from _below(source)
    elif os.path.lexists(source):
        yield source
    else:
        found = glob.iglob(source, recursive=True)
        yield from sorted(path for path in found if not os.path.isdir(path))


def _warn(error: OSError) -> None:
    warnings.warn(f"{error.filename}: not searched ({error.strerror}).", stacklevel=2)


def _below(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, onerror=_warn):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.join(parent, name)
