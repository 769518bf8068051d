"""Reading of many files at a time, of which those that are known are not opened again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple

from learned_saliency.datamodules import (
    AS_STORED,
    COLORS,
    Decoding,
    ImageError,
    ImageFacts,
    ImageSource,
    MaskValues,
    content_digest,
    inspect_image,
    inspect_mask,
)
from learned_saliency.pipeline.data.journal import Entry, Journal, Stamp
from learned_saliency.pipeline.data.progress import Progress

MISSING = "does not exist"  # the problem of a file that is not there
_BATCH = 64  # files that a thread reads before it takes others
_AHEAD = 4  # batches for each thread that may wait for it

_PLURALS = {"image": "images", "mask": "masks", "copy": "likely copies"}

Locate = Callable[[str], ImageSource]
Inspect = Callable[[ImageSource], ImageFacts]


class Depth(NamedTuple):
    """Depth of a look at images.

    Attributes:
        decode: Whether they are decoded as a whole.
        look: Whether their perceptual hashes are made.
    """

    decode: bool = False
    look: bool = False


class _Result(NamedTuple):
    """Facts about a file, and an entry for the journal where it was opened for them."""

    facts: ImageFacts
    entry: Entry | None


class FileReader:
    """Reader of the facts about files, in threads, with a journal.

    Args:
        journal: Knows files that were read before, and gets the others.
        depth: Depth of the look at images.
        workers: Number of threads; None takes 4 for each core, 16 at most.
        packed: State of all images that are parts of larger files.
        decoding: What the data set declares about its files.

    Attributes:
        files: Number of files that were asked for so far.
        opened: Number of those that were opened for it.
    """

    def __init__(
        self,
        journal: Journal,
        depth: Depth,
        workers: int | None,
        packed: Stamp,
        decoding: Decoding = AS_STORED,
    ) -> None:
        self._journal, self._depth, self._packed = journal, depth, packed
        self._decoding = decoding
        self.files = self.opened = 0
        self._workers = workers or min(16, 4 * (os.cpu_count() or 1))

    def images(self, names: Sequence[str], locate: Locate) -> list[ImageFacts]:
        """Read the facts about images.

        Args:
            names: Their ids.
            locate: Finds an image by its id.
        """
        axes, colors = self._decoding.array_axes, self._decoding.channels == COLORS
        use = "image" if colors else f"image of {axes}"
        return self._read(use, names, locate, self._inspect)

    def masks(
        self, names: Sequence[str], locate: Locate, values: MaskValues | None = None
    ) -> list[ImageFacts]:
        """Read the facts about masks, for which all of them are decoded.

        Args:
            names: Their paths in the text files.
            locate: Finds a mask by its path there.
            values: What the data set declares about their values; see `read_mask`.
        """
        use = "mask" if values is None else f"mask of {values}"
        return self._read(use, names, locate, partial(inspect_mask, values=values))

    def contents(self, names: Sequence[str], locate: Locate) -> list[ImageFacts]:
        """Read the digests of the whole contents of images, and no other facts; see `images`."""
        return self._read("copy", names, locate, _digest)

    def _inspect(self, source: ImageSource) -> ImageFacts:
        decode, look = self._depth
        return inspect_image(source, decode=decode, look=look, decoding=self._decoding)

    def _read(
        self, use: str, names: Sequence[str], locate: Locate, inspect: Inspect
    ) -> list[ImageFacts]:
        """Read files batch by batch; each batch is in the journal when it is done."""

        def read(batch: Sequence[str]) -> list[_Result]:
            return [self._read_one(use, locate(name), inspect) for name in batch]

        found = []
        progress = Progress(_PLURALS[use.split()[0]], len(names))
        pool = ThreadPoolExecutor(self._workers)
        try:
            for results in _in_order(pool, read, names, self._workers * _AHEAD):
                entries = [result.entry for result in results if result.entry is not None]
                # what is wrong with a file may be mended without a trace: it is looked at again
                self._journal.add(entry for entry in entries if not entry.facts.problem)
                if use != "copy":  # copies are among the images, which are counted already
                    self.files += len(results)
                    self.opened += len(entries)
                found += [result.facts for result in results]
                progress.advance(len(results))
        finally:
            pool.shutdown(cancel_futures=True)
            progress.close()
        return found

    def _read_one(self, use: str, source: ImageSource, inspect: Inspect) -> _Result:
        """Find or read the facts about a file."""
        try:
            stamp = self._stamp(source)
        except (FileNotFoundError, NotADirectoryError):
            return _Result(ImageFacts(MISSING), None)
        except OSError as error:
            return _Result(ImageFacts(error.strerror or str(error)), None)
        known = self._journal.find(use, str(source), stamp)
        is_image = use.split()[0] == "image"
        if known is not None and (not is_image or self._is_deep_enough(known)):
            return _Result(known, None)
        facts = inspect(source)
        return _Result(facts, Entry(use, str(source), stamp, facts))

    def _stamp(self, source: ImageSource) -> Stamp:
        if not isinstance(source, os.PathLike):
            return self._packed
        found = os.stat(source)
        return Stamp(found.st_size, found.st_mtime_ns)

    def _is_deep_enough(self, facts: ImageFacts) -> bool:
        return facts.decoded >= self._depth.decode and bool(facts.look) >= self._depth.look


def _digest(source: ImageSource) -> ImageFacts:
    try:
        return ImageFacts(digest=content_digest(source))
    except (OSError, ImageError) as error:
        return ImageFacts(str(error))


def _in_order(
    pool: ThreadPoolExecutor,
    read: Callable[[Sequence[str]], list[_Result]],
    names: Sequence[str],
    ahead: int,
) -> Iterator[list[_Result]]:
    """Yield the results of batches in their order, of which few are under way at a time."""
    starts = iter(range(0, len(names), _BATCH))
    waiting: deque[Future[list[_Result]]] = deque()
    while True:
        for start in islice(starts, ahead - len(waiting)):
            waiting.append(pool.submit(read, names[start : start + _BATCH]))
        if not waiting:
            return
        yield waiting.popleft().result()
