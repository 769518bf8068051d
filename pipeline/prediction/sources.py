"""Search for the files that a person means by a file, a folder or a pattern."""

from __future__ import annotations

import glob
import itertools
import os
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from learned_saliency.datamodules import (
    DataError,
    ImageError,
    ImageSource,
    PackedImage,
    Remote,
    ShardStore,
    expand_braces,
    image_of,
    is_address,
    read_samples,
)
from learned_saliency.pipeline.cli import UserError, check_images

_SHARD = ".tar"


class Found(NamedTuple):
    """An image to look at.

    Attributes:
        path: Path of the file, or the member of a tar shard.
        name: Name relative to the searched folder, with ``/``; parts above it are left out.
        stem: Name of its annotations, see `labelling.with_stems`; empty where none are asked for.
    """

    path: ImageSource
    name: str
    stem: str = ""


class FoundShard(NamedTuple):
    """A tar shard of images.

    Attributes:
        name: Name relative to the searched folder or the address, with ``/``.
        locate: Finds its file, or fetches it.
        ending: Ending of the image's member, where samples have several; None for the only one.
    """

    name: str
    locate: Callable[[], Path]
    ending: str | None = None

    def files(self) -> Iterator[Found]:
        """Find the images of its samples, each named as its member.

        A sample without an image is found as one that cannot be read.

        Raises:
            DataError: If the shard is not readable (see `read_samples`), or a member has a name by
                which files would be written outside of their folder.
        """
        path = self.locate()
        store = ShardStore(path.parent)
        for sample in read_samples(path):
            member = image_of(path, sample, self.ending, "sample_image")
            name = next(iter(sample.members.values())).name if member is None else member.name
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise DataError(
                    f"{path}: member {name}: its name leads out of the folder of what is written "
                    "of it; write the shard with other names."
                )
            read = store.read if member is not None else _without_image
            yield Found(PackedImage(path / name, f"{path.name}/{name}", read), name)


def _without_image(name: str) -> bytes:
    raise ImageError("the sample has no image")


def find_files(
    sources: Sequence[str],
    leave_out: Path | None = None,
    ending: str | None = None,
    keep_gb: float = 100.0,
) -> Iterator[Found]:
    """Find the files of several sources, one source after the other, each in alphabetical order.

    A folder is searched with its subfolders, except for names that begin with a dot; links to
    folders are not followed. Files are yielded during the walk, so that any number of them takes no
    memory. In the place of a tar shard come the images in it.

    Args:
        sources: Files, folders, or patterns with ``*``, ``?``, ``[...]`` and ``**``, and with
            ranges ``{000..099}``; or addresses of shards on a web server, with such ranges.
        leave_out: Folder whose files do not count.
        ending: See `FoundShard`.
        keep_gb: Largest size of all fetched shards in the cache, GB.

    Yields:
        The files, named relative to the folder or the fixed part of the pattern; with several
        sources, relative to the folder that holds all sources.

    Raises:
        UserError: If a source is not there, a pattern matches nothing, or two addresses end in one
            name, before the first file.
    """
    if not sources:
        raise UserError("images has no value: give a file, a folder or a pattern.")
    given, remote = _separated(sources, ending, keep_gb)
    _check_names(remote)
    for source in given:
        check_images(source)
    base = os.path.commonpath([os.path.abspath(_base(s)) for s in given]) if given else ""
    skipped = None if leave_out is None else os.path.abspath(leave_out)
    return _expanded(_walk(given, base, skipped), remote, ending)


def find_shard_files(
    sources: Sequence[str], leave_out: Path, ending: str | None = None, keep_gb: float = 100.0
) -> list[FoundShard]:
    """List the shards of several sources; see `find_files`.

    Raises:
        UserError: If a source is not there or has no shards, or two have one name.
    """
    given, shards = _separated(sources, ending, keep_gb)
    for source in given:
        check_images(source)
    base = os.path.commonpath([os.path.abspath(_base(s)) for s in given]) if given else ""
    for found in _walk(given, base, os.path.abspath(leave_out)):
        if found.name.endswith(_SHARD):
            shards.append(FoundShard(found.name, partial(Path, found.path), ending))
        elif not any(os.path.isdir(source) for source in given):
            raise UserError(f"{found.path}: is no shard, whose name ends in .tar; leave it out.")
    if not shards:
        raise UserError(f"images={', '.join(sources)}: there are no shards, files ending in .tar.")
    _check_names(shards)
    return shards


def _check_names(shards: Sequence[FoundShard]) -> None:
    """Check that no two shards have one name, by which their output is written."""
    names = Counter(shard.name for shard in shards)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(f"images: {twice[0]} is named twice; its output could be there only once.")


def _separated(
    sources: Sequence[str], ending: str | None, keep_gb: float
) -> tuple[list[str], list[FoundShard]]:
    """Separate places on this machine, with their ranges written out, from shards elsewhere."""
    given, remote = [], []
    for source in sources:
        names = [source] if os.path.lexists(source) else expand_braces(source)
        if not is_address(source):
            given += [os.path.expanduser(name) for name in names]
            continue
        for name in names:
            address, _, last = name.rpartition("/")
            place = Remote(address, most_bytes=round(keep_gb * 1e9))
            remote.append(FoundShard(last, partial(place.locate, last), ending))
    return given, remote


def _expanded(
    files: Iterable[Found], remote: Sequence[FoundShard], ending: str | None
) -> Iterator[Found]:
    """Put the images of shards in their places."""
    for found in files:
        if found.name.endswith(_SHARD):
            yield from _members(FoundShard(found.name, partial(Path, found.path), ending))
        else:
            yield found
    for shard in remote:
        yield from _members(shard)


def _members(shard: FoundShard) -> Iterator[Found]:
    for found in shard.files():
        yield found._replace(name=f"{shard.name}/{found.name}")


def draw_files(
    files: Iterable[Found], count: int, is_image: Callable[[ImageSource], bool]
) -> list[Found]:
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
