"""Base of readers of images that are parts of larger files, and what these tell of themselves."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from learned_saliency.datamodules.decoding import COLORS, Decoding
from learned_saliency.datamodules.inspection import ImageFacts
from learned_saliency.datamodules.opening import PackedImage
from learned_saliency.datamodules.readers.base import ByteReader
from learned_saliency.datamodules.readers.foldersplits import check_draw
from learned_saliency.datamodules.readers.making import decoded_otherwise, tell
from learned_saliency.datamodules.readers.resemblance import inspect_all
from learned_saliency.datamodules.readers.scanning import SPELLINGS
from learned_saliency.datamodules.readers.writing import Metadata, options_of, write_metadata
from learned_saliency.datamodules.textfile import DataError


class PackedReader(ByteReader):
    """Reader of larger files, each of one split; splits that are missing are drawn.

    Args:
        val_fraction: See `FolderReader`.
        test_fraction: See `FolderReader`.
        seed: See `FolderReader`.
        keep_similar: See `FolderReader`.
        exif_orientation: See `FolderReader`.
        channels: See `FolderReader`.

    Attributes:
        kind: Name of the reader in stamps and messages.
        version: Number that changes with what is made of the files.

    Raises:
        ValueError: If a fraction or the seed is out of range.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    def __init__(
        self,
        *,
        val_fraction: float,
        test_fraction: float,
        seed: int,
        keep_similar: bool,
        exif_orientation: bool,
        channels: int = COLORS,
    ) -> None:
        self.fractions, self.seed = {"val": val_fraction, "test": test_fraction}, seed
        check_draw(self.fractions, seed)
        self.keep_similar, self.exif_orientation = keep_similar, exif_orientation
        self._decoding = Decoding(exif_orientation, None, channels)

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless it is there and the files have not changed since.

        Args:
            root: Folder of the files.
            metadata: The folder to write.

        Raises:
            DataError: If a file is damaged or missing, an image has no class, a box or a mask does
                not fit, or ``metadata`` has files of another origin.
        """
        root, metadata = (path.expanduser().absolute() for path in (root, metadata))
        files = self._list(root)
        settings: dict[str, Any] = {"version": self.version, "root": str(root), **options_of(self)}
        settings |= decoded_otherwise(self._decoding)
        listing = self._listing(root, files).encode("utf-8", "surrogateescape")
        settings["listing"] = hashlib.sha256(listing).hexdigest()
        write_metadata(metadata, self.kind, settings, lambda: self._read(root, files))
        tell(root, metadata)

    @abstractmethod
    def _list(self, root: Path) -> Mapping[str, str]:
        """List the files, relative to the root, with their splits."""

    @abstractmethod
    def _read(self, root: Path, files: Mapping[str, str]) -> Metadata:
        """Read all that is known of the images."""

    def _listing(self, root: Path, files: Mapping[str, str]) -> str:
        """Return what tells that the files have changed."""
        states = [(name, (root / name).stat()) for name in files]
        return repr([(name, state.st_size, state.st_mtime_ns) for name, state in states])

    def _copy(self, **changed: Any) -> Self:
        """Return a reader of the same settings but for some attributes."""
        reader = object.__new__(type(self))
        vars(reader).update(vars(self) | changed)
        return reader

    def _facts(
        self, root: Path, ids: Sequence[str], images: Iterable[PackedImage]
    ) -> list[ImageFacts]:
        """Read the facts about images.

        Raises:
            DataError: If one cannot be read.
        """
        facts = inspect_all(images, self.keep_similar, self._decoding)
        for image_id, fact in zip(ids, facts, strict=True):
            if fact.problem:
                image = PackedImage(root / image_id, image_id, self.open)
                raise DataError(f"{image}: the image cannot be read ({fact.problem}); replace it.")
        return facts


def split_by_names(
    root: Path, ending: str, words_of: Callable[[str], Sequence[str]], none: str, remedy: str
) -> dict[str, str]:
    """List the files below a folder with the splits that their names, or else folders, tell.

    Args:
        root: The folder.
        ending: Ending of the files.
        words_of: Takes the words that may name a split out of the name of a file without ending.
        none: Sentence without a full stop for a folder without such files.
        remedy: Likewise for a file whose split is not clear.

    Raises:
        DataError: If there are none, or the split of one is not clear.
    """
    found = {}
    for path in sorted(path for path in root.rglob(f"*{ending}") if path.is_file()):
        name = path.relative_to(root)
        words = [*words_of(path.stem), *reversed(name.parts[:-1])]
        split = next((SPELLINGS[word.lower()] for word in words if word.lower() in SPELLINGS), None)
        if split is None:
            raise DataError(f"{path}: neither its name nor its folder tells the split; {remedy}.")
        found[name.as_posix()] = split
    if not found:
        raise DataError(f"{root}: {none}; set `root` to their folder.")
    return found
