"""Reader of any photographs, without labels."""

import glob
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.decoding import COLORS, Decoding
from learned_saliency.datamodules.readers.annotations import Marks
from learned_saliency.datamodules.readers.folderrows import Photos, open_photos
from learned_saliency.datamodules.readers.foldersplits import Rule, check_draw, group_pattern
from learned_saliency.datamodules.readers.making import (
    decoded_otherwise,
    make_metadata,
    remake_metadata,
)
from learned_saliency.datamodules.readers.splitlists import SplitLists, read_split_lists
from learned_saliency.datamodules.readers.walking import (
    FoundFile,
    Walk,
    check_name,
    image_suffixes,
    listing_digest,
)
from learned_saliency.datamodules.readers.writing import Metadata, options_of
from learned_saliency.datamodules.textfile import DataError

_LOGGER = logging.getLogger(__name__)
_NAME = "photos"
_VERSION = 1
_ALL = "images"  # name of all photographs in remarks, where classes would have theirs


class PhotosReader:
    r"""Writer of the metadata of photographs whose classes are not known.

    The root is searched with the folders below it, whatever their names, and every image gets the
    label -1. The splits are drawn, so that copies and images that look alike stay in one of them,
    or they are given as lists. ``splits.json`` among the metadata says what was made. The metadata
    is made anew when the listing of the folder changes; images that were there keep the splits that
    were drawn.

    Args:
        val_fraction: Share of the images that becomes ``val``, in [0, 1).
        test_fraction: Share that becomes ``test``, in [0, 1]; 1 takes all images for it. Both
            together are below 1 otherwise.
        seed: Seed of the draw, 0 or more.
        files: Patterns with ``*``, ``?``, ``[...]`` and ``**``, files or folders relative to the
            root, to which the photographs are restricted; None takes all.
        splits: Splits that were fixed beforehand, instead of the draw: a folder with ``train.txt``,
            ``val.txt`` and ``test.txt``, or some of these, with a file per line, or a text file of
            lines ``file,split``. It is looked for below the root, then in the working directory.
            Photographs that no list names are left out.
        keep_similar: Whether images that look alike stay in one split, for which each is decoded at
            a reduced size. Copies do in any case.
        group: Regular expression: images in whose names its first group is the same text stay in
            one split, such as ``(person\\d+)_`` for images of one person; None for no such rule.
        skip_broken: Whether images that cannot be read are left out, instead of being an error.
        exif_orientation: Whether images are turned as a person sees them; the data module's.
        channels: Number of channels of the images; the data module's. Other than 3 makes images of
            .npy files, too.
        array_axes: Order of the axes in these; the data module's.

    Raises:
        ValueError: If a fraction or the seed is out of range.
        DataError: If ``group`` is no regular expression.
    """

    unlabeled = True

    def __init__(
        self,
        *,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        seed: int = 0,
        files: str | Sequence[str] | None = None,
        splits: str | Path | None = None,
        keep_similar: bool = True,
        group: str | None = None,
        skip_broken: bool = False,
        exif_orientation: bool = True,
        channels: int = COLORS,
        array_axes: str = "hwc",
    ) -> None:
        self.fractions = {"val": val_fraction, "test": test_fraction}
        if self.fractions != {"val": 0, "test": 1}:
            check_draw(self.fractions, seed)
        self.seed = seed
        self.files = None if files is None else [files] if isinstance(files, str) else list(files)
        self.splits = None if splits is None else str(splits)
        self.keep_similar, self.skip_broken = keep_similar, skip_broken
        self.group, self.exif_orientation = group, exif_orientation
        self._decoding = Decoding(exif_orientation, None, channels, array_axes)
        self._pattern = group_pattern(group)

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless it is there and the folder has not changed since.

        Args:
            root: The folder of photographs.
            metadata: The folder to write.

        Raises:
            DataError: If the folder holds no images, one cannot be read (unless such images are
                skipped), a pattern or list does not fit, or ``metadata`` has files of another
                origin. The error names the file.
        """
        root, metadata = (path.expanduser().absolute() for path in (root, metadata))
        if not root.is_dir():
            raise DataError(f"{root}: the folder of photographs is missing; set `root`.")
        found, remarks = list_images(root, self.files, self._decoding.channels)
        lists = None if self.splits is None else read_split_lists(root, self.splits)
        options = options_of(self) | decoded_otherwise(self._decoding)
        listed = {} if lists is None else {"lists": lists.digest()}
        names = [file.name for file in found]
        remake_metadata(
            *(root, metadata, _NAME),
            {"version": _VERSION, "root": str(root), **options, **listed},
            {"listing": listing_digest(found)},
            lambda known: self._read(root, names, lists, known, remarks),
        )

    def _read(
        self,
        root: Path,
        names: list[str],
        lists: SplitLists | None,
        known: Mapping[str, str],
        remarks: Sequence[str],
    ) -> Metadata:
        """Read the photographs, give each its split, and tell what was done."""
        fractions, splits, left_out = self.fractions, [""] * len(names), []
        if lists is not None:
            fractions, (names, splits, left_out) = {}, lists.match(names)
        elif fractions["test"] == 1:
            fractions, splits = {}, ["test"] * len(names)
        _LOGGER.info("%s: reading %d images", root, len(names))
        photos = Photos(root, names, [UNKNOWN] * len(names), splits, [])
        opened = open_photos(
            photos, look=self.keep_similar, skip_broken=self.skip_broken, decoding=self._decoding
        )
        remedy = (
            "add images, choose shares by data.reader.val_fraction and data.reader.test_fraction "
            "(0 and 1 test all), or list the files of each split in data.reader.splits=FOLDER"
        )
        made = make_metadata(
            opened.photos,
            [_ALL],
            Marks({}, {}, []),
            Rule(fractions, self.seed, self._pattern, remedy),
            exif=self.exif_orientation,
            known=known,
            remarks=[*remarks, *left_out, *opened.remarks],
        )
        return replace(made, class_names=[])


def list_images(
    root: Path, patterns: Sequence[str] | None, channels: int = COLORS
) -> tuple[list[FoundFile], list[str]]:
    """List the images below a folder, without opening one.

    Returns:
        The images in the order of their names, and sentences about what is passed over.

    Raises:
        DataError: If there is no image, a pattern matches none or leads out of the root, or a name
            cannot be written to a text file.
    """
    walk, taken = Walk(root, None, channels), image_suffixes(channels)
    found = sorted(walk.files())
    images = [file for file in found if Path(file.name).suffix.lower() in taken]
    if not images:
        raise DataError(f"{root}: holds no images, neither do the folders in it; set another root.")
    if patterns is not None:
        chosen = {name for pattern in patterns for name in _matches(root, pattern, images)}
        images = [file for file in images if file.name in chosen]
    for file in images:
        check_name(root, file.name)
    return images, walk.remarks()


def _matches(root: Path, pattern: str, images: Sequence[FoundFile]) -> set[str]:
    """Find the names of the images that a pattern, a file or a folder below the root names."""
    place = f"data.reader.files={pattern}"
    if os.path.isabs(pattern) or os.pardir in Path(pattern).parts:
        raise DataError(f"{place}: leads out of {root}; write it relative to that folder.")
    literal = glob.escape(pattern) if (root / pattern).exists() else pattern
    hits = {Path(path).as_posix() for path in glob.glob(literal, root_dir=root, recursive=True)}
    folders = tuple(f"{hit}/" for hit in hits)
    names = {f.name for f in images if f.name in hits or f.name.startswith(folders)}
    if not names:
        raise DataError(f"{place}: matches no image below {root}; correct the pattern.")
    return names
