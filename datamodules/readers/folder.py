"""Reader of a folder of photographs with a folder for each class."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from learned_saliency.datamodules.decoding import COLORS, Decoding
from learned_saliency.datamodules.readers.annotations import find_marks
from learned_saliency.datamodules.readers.base import ONE_CLASS, Published, Source
from learned_saliency.datamodules.readers.folderrows import Photos, open_photos
from learned_saliency.datamodules.readers.foldersplits import Rule, check_draw, group_pattern
from learned_saliency.datamodules.readers.making import (
    decoded_otherwise,
    make_metadata,
    remake_metadata,
)
from learned_saliency.datamodules.readers.scanning import Listing, list_photos
from learned_saliency.datamodules.readers.walking import (
    AUTO,
    IMAGE_SUFFIXES,
    NONE,
    NOTE_SUFFIXES,
    listing_digest,
    named_files,
    named_place,
)
from learned_saliency.datamodules.readers.writing import Metadata, options_of
from learned_saliency.datamodules.textfile import DataError

_LOGGER = logging.getLogger(__name__)
_NAME = "folder"
_VERSION = 1
_DECLARED = ("published", "sources")  # options that the metadata does not depend on


class FolderReader:
    r"""Writer of the metadata of a folder of photographs.

    Below the root lies a folder for each class, with images of any kind in it and in folders below
    it, or the folders ``train``, ``val`` and ``test`` (also ``valid`` and the like) with such
    folders. Where some of the three are missing they are drawn out of the training images, in equal
    shares of all classes; copies and images that look alike stay in one split. Where images lie in
    given splits nothing is moved, and copies in two of them are told. ``splits.json`` among the
    metadata says what was made, of what.

    Boxes come from a CSV table, COCO's JSON or a VOC XML file per image, masks from images of the
    same names in a folder ``masks``. They count for ``val`` and ``test`` alone. Where a part of the
    images has them, these splits are drawn from that part.

    The metadata is made anew when the listing of the folder changes; images that were there keep
    the splits that were drawn.

    Args:
        val_fraction: Share of each class that becomes ``val`` where there is none, in [0, 1).
        test_fraction: Share of each class that becomes ``test``, likewise; both together below 1.
        seed: Seed of the draw, 0 or more.
        boxes: ``"auto"`` for files beside the images, ``"none"`` or None, or a file or folder,
            relative to the root or the working directory.
        masks: ``"auto"`` for folders named ``masks`` or ``segmentations`` below the root,
            ``"none"`` or None, or a folder.
        keep_similar: Whether images that look alike stay in one split, for which each is decoded at
            a reduced size. Copies do in any case.
        group: Regular expression: images in whose names its first group is the same text stay in
            one split, such as ``(person\\d+)_`` for images of one person; None for no such rule.
        skip_broken: Whether images that cannot be read are left out, instead of being an error.
        exif_orientation: Whether boxes and masks refer to what a person sees; the data module's.
        channels: Number of channels of the images; the data module's. Other than 3 makes images of
            .npy files, too.
        array_axes: Order of the axes in these; the data module's.
        published: Published counts by split, each a mapping with keys of `Published`.
        sources: Parts of the download: what each is and where it is obtained, by their paths.

    Raises:
        ValueError: If a fraction or the seed is out of range.
        DataError: If ``group`` is no regular expression.
    """

    tasks = ONE_CLASS

    def __init__(
        self,
        *,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        seed: int = 0,
        boxes: str | Path | None = AUTO,
        masks: str | Path | None = AUTO,
        keep_similar: bool = True,
        group: str | None = None,
        skip_broken: bool = False,
        exif_orientation: bool = True,
        channels: int = COLORS,
        array_axes: str = "hwc",
        published: Mapping[str, Mapping[str, int]] | None = None,
        sources: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.fractions = {"val": val_fraction, "test": test_fraction}
        check_draw(self.fractions, seed)
        self.seed = seed
        self.boxes, self.masks = (NONE if x is None else str(x) for x in (boxes, masks))
        self.keep_similar, self.skip_broken = keep_similar, skip_broken
        self.group, self.exif_orientation = group, exif_orientation
        self._decoding = Decoding(exif_orientation, None, channels, array_axes)
        self.published = {split: Published(**counts) for split, counts in (published or {}).items()}
        self.sources = [Source(path, *part) for path, part in (sources or {}).items()]
        self._pattern = group_pattern(group)

    @property
    def image_roots(self) -> list[Path]:
        """Folders beside the root in which files may lie: that of the masks, if one is given."""
        return [] if self.masks in (AUTO, NONE) else [Path(self.masks).expanduser().absolute()]

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless it is there and the folder has not changed since.

        Args:
            root: The folder of photographs.
            metadata: The folder to write.

        Raises:
            DataError: If the folder holds no classes, an image cannot be read (unless such images
                are skipped), boxes or masks do not fit, or ``metadata`` has files of another
                origin. The error names the file.
        """
        root, metadata = (path.expanduser().absolute() for path in (root, metadata))
        if not root.is_dir():
            raise DataError(f"{root}: the folder of photographs is missing; set `root`.")
        masks = named_place(root, self.masks)
        listing = list_photos(
            root, find_masks=self.masks == AUTO, leave_out=masks, channels=self._decoding.channels
        )
        files = [*listing.images, *listing.notes, *listing.masks]
        files += named_files(root, self.boxes, NOTE_SUFFIXES)
        files += named_files(root, self.masks, IMAGE_SUFFIXES)
        options = options_of(self) | decoded_otherwise(self._decoding)
        kept = {key: value for key, value in options.items() if key not in _DECLARED}
        remake_metadata(
            *(root, metadata, _NAME),
            {"version": _VERSION, "root": str(root), **kept},
            {"listing": listing_digest(files)},
            lambda known: self._read(listing, known),
        )

    def _read(self, listing: Listing, known: Mapping[str, str]) -> Metadata:
        """Read the photographs, draw the splits that are missing, and tell what was done."""
        marks = find_marks(listing, self.boxes, self.masks)
        photos, left_out = self._readable(listing)
        return make_metadata(
            photos,
            listing.class_names,
            marks,
            Rule(self.fractions, self.seed, self._pattern),
            exif=self.exif_orientation,
            known=known,
            remarks=[*listing.remarks, *left_out],
        )

    def _readable(self, listing: Listing) -> tuple[Photos, list[str]]:
        """Open all photographs.

        Returns:
            The readable ones, and a remark about the others.

        Raises:
            DataError: If one cannot be read and such ones are not skipped, or all of a class.
        """
        root, names = listing.root, [file.name for file in listing.images]
        _LOGGER.info(
            "%s: reading %d images of %d classes", root, len(names), len(listing.class_names)
        )
        photos = Photos(root, names, listing.labels, listing.splits, [])
        opened = open_photos(
            photos, look=self.keep_similar, skip_broken=self.skip_broken, decoding=self._decoding
        )
        lost = set(listing.labels) - set(opened.photos.labels)
        if lost:
            raise DataError(
                f"{opened.broken}: no image of {listing.class_names[min(lost)]} can be read; "
                "replace them, or remove the folder."
            )
        return opened.photos, opened.remarks
