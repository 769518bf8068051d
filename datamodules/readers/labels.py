"""Reader of images whose classes, any number per image, stand in a CSV table."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learned_saliency.datamodules.metadata import SPLITS
from learned_saliency.datamodules.readers.base import MANY_CLASSES
from learned_saliency.datamodules.readers.boxtables import NotedBox
from learned_saliency.datamodules.readers.folderrows import Photos, open_photos
from learned_saliency.datamodules.readers.foldersplits import check_draw, group_pattern
from learned_saliency.datamodules.readers.imagenames import ImageNames
from learned_saliency.datamodules.readers.labelsource import LabelSource
from learned_saliency.datamodules.readers.labeltable import (
    UNCERTAIN,
    Columns,
    LabelRow,
    read_label_table,
)
from learned_saliency.datamodules.readers.making import remake_metadata, report_of
from learned_saliency.datamodules.readers.manylabels import (
    LabeledImage,
    draw_shares,
    multilabel_rows,
    truncated_box,
)
from learned_saliency.datamodules.readers.photos import list_images
from learned_saliency.datamodules.readers.resemblance import together
from learned_saliency.datamodules.readers.splitlists import read_split_lists
from learned_saliency.datamodules.readers.splitting import merged_groups
from learned_saliency.datamodules.readers.walking import listing_digest, named_place
from learned_saliency.datamodules.readers.writing import (
    Metadata,
    SplitRows,
    options_of,
)
from learned_saliency.datamodules.textfile import DataError

_LOGGER = logging.getLogger(__name__)
_NAME = "labels"
_VERSION = 1


class LabelsReader:
    r"""Writer of the metadata of images below a folder, whose classes a table lists.

    `read_label_table` describes the table. A name in it may lack the folder and the extension of
    its image, as long as it is clear; images that it does not name are left out. Splits are those
    of a column, or of lists as in `PhotosReader`, or are drawn so that every class has its part in
    each; copies, images that look alike and images of one group stay together. ``splits.json``
    among the metadata says what was made.

    Boxes, of a CSV table or COCO's JSON as in `FolderReader`, each with the name of its class,
    count for ``val`` and ``test``; images without boxes stay. The metadata is made anew when the
    listing of the folder or a table changes; images that were there keep splits that were drawn.

    Args:
        labels: The table, relative to the root or the working directory.
        image_column: Column of the images' names; None finds it by usual names, ``image``, ``id``.
        label_column: Column of names of classes; None finds it by usual names, ``labels``.
        class_columns: Columns of one class each; None takes all others where no column names
            classes.
        separator: Text between names of classes.
        uncertain: What -1 in a column of a class counts as, ``"absent"`` or ``"present"``; None
            refuses it.
        split_column: Column of the splits; None for none.
        group_column: Column of what is kept in one split, such as patients; None for none.
        splits: Lists of the splits, see `PhotosReader`; None for none.
        val_fraction: Share that becomes ``val`` where splits are drawn, in [0, 1).
        test_fraction: Share that becomes ``test``, likewise; both together below 1.
        seed: Seed of the draw, 0 or more.
        boxes: File of boxes, relative to the root or the working directory; None for none.
        keep_similar: Whether images that look alike stay in one split. Copies do in any case.
        group: Regular expression of names that stay in one split, see `FolderReader`.
        skip_broken: Whether images that cannot be read are left out, instead of being an error.
        exif_orientation: Whether boxes refer to what a person sees; the data module's.

    Raises:
        ValueError: If a fraction, the seed or ``uncertain`` is out of range, the separator empty,
            or there are both a column and lists of splits.
        DataError: If ``group`` is no regular expression.
    """

    tasks = MANY_CLASSES

    def __init__(
        self,
        *,
        labels: str | Path = "labels.csv",
        image_column: str | None = None,
        label_column: str | None = None,
        class_columns: Sequence[str] | None = None,
        separator: str = "|",
        uncertain: str | None = None,
        split_column: str | None = None,
        group_column: str | None = None,
        splits: str | Path | None = None,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        seed: int = 0,
        boxes: str | Path | None = None,
        keep_similar: bool = True,
        group: str | None = None,
        skip_broken: bool = False,
        exif_orientation: bool = True,
    ) -> None:
        self.fractions, self.seed = {"val": val_fraction, "test": test_fraction}, seed
        check_draw(self.fractions, seed)
        if uncertain is not None and uncertain not in UNCERTAIN:
            raise ValueError(f"expected uncertain of {', '.join(UNCERTAIN)}, got {uncertain!r}")
        if not separator:
            raise ValueError("expected a separator of one character or more")
        if split_column is not None and splits is not None:
            raise ValueError("expected split_column or splits, got both")
        self.labels, self.separator, self.uncertain = str(labels), separator, uncertain
        classes = None if class_columns is None else list(class_columns)
        self.columns = Columns(image_column, label_column, classes, split_column, group_column)
        self.splits = None if splits is None else str(splits)
        self.boxes = None if boxes is None else str(boxes)
        self.keep_similar, self.skip_broken = keep_similar, skip_broken
        self.group, self.exif_orientation = group, exif_orientation
        self._pattern = group_pattern(group)

    def prepare(self, root: Path, metadata: Path) -> None:
        """Write the metadata unless it is there and neither folder nor tables have changed since.

        Args:
            root: The folder of images.
            metadata: The folder to write.

        Raises:
            DataError: If a table is missing or malformed or names an image that is not there, an
                image cannot be read (unless such images are skipped), a box does not fit, a split
                is empty, or ``metadata`` has files of another origin. The error names file and
                line.
        """
        root, metadata = (path.expanduser().absolute() for path in (root, metadata))
        if not root.is_dir():
            raise DataError(f"{root}: the folder of images is missing; set `root`.")
        table = named_place(root, self.labels)
        boxes = None if self.boxes is None else named_place(root, self.boxes)
        found, remarks = list_images(root, None)
        lists = None if self.splits is None else read_split_lists(root, self.splits)
        settings = {"version": _VERSION, "root": str(root), **options_of(self)}
        settings["columns"] = list(self.columns)
        settings["lists"] = None if lists is None else lists.digest()
        files = [path.stat() for path in (table, boxes) if path is not None]
        stamps = [[facts.st_size, facts.st_mtime_ns] for facts in files]
        names = ImageNames([file.name for file in found])
        source = LabelSource(root, table, boxes, names, lists, remarks)
        remake_metadata(
            *(root, metadata, _NAME),
            settings,
            {"listing": listing_digest(found), "files": stamps},
            lambda known: self._read(source, known),
        )

    def _read(self, source: LabelSource, known: Mapping[str, str]) -> Metadata:
        """Read the table and the images, and give each image its split."""
        classes, rows = read_label_table(
            source.table, self.columns, separator=self.separator, uncertain=self.uncertain
        )
        listed = source.listed(rows)
        names, remarks = list(listed), list(source.remarks)
        splits = [listed[name].split for name in names]
        if source.lists is not None:
            names, splits, left_out = source.lists.match(names)
            remarks += left_out
        _LOGGER.info("%s: reading %d images of %d classes", source.root, len(names), len(classes))
        photos = Photos(source.root, names, [0] * len(names), splits, [])
        opened = open_photos(photos, look=self.keep_similar, skip_broken=self.skip_broken)
        photos, report = self._divided(opened.photos, listed, classes, known)
        boxes = source.noted_boxes(set(photos.names))
        made = {}
        for split in SPLITS:
            chosen = photos.at([k for k, own in enumerate(photos.splits) if own == split])
            if chosen.names:
                images = self._labeled(chosen, listed, classes, boxes, split)
                made[split] = self._rows(chosen, images, split)
        texts = report_of(source.root, made, report, [*remarks, *opened.remarks])
        return Metadata(classes, made, texts)

    def _divided(
        self,
        photos: Photos,
        listed: Mapping[str, LabelRow],
        classes: Sequence[str],
        known: Mapping[str, str],
    ) -> tuple[Photos, dict[str, Any]]:
        """Draw the splits, unless they are given; return the report about that, too."""
        if any(photos.splits):
            return photos, {"given": sorted(set(photos.splits)), "made": []}
        groups = together(photos.facts, photos.names, self._pattern)
        keys = [listed[name].group or f"\n{name}" for name in photos.names]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        groups = merged_groups(groups, np.array([numbers[key] for key in keys], np.int64))
        shares = {"train": 1 - sum(self.fractions.values()), **self.fractions}
        number_of = {name: label for label, name in enumerate(classes)}
        labels = [[number_of[c] for c in listed[name].classes] for name in photos.names]
        splits = draw_shares(photos.names, labels, groups.tolist(), shares, self.seed, known)
        made = [split for split, part in self.fractions.items() if part > 0]
        for split in made:
            if split not in splits:
                raise DataError(
                    f"{photos.root}: has too few images, or groups of similar ones, to make {split}"
                    " of them; add images, or give the splits by data.reader.splits."
                )
        members: dict[int, list[str]] = {}
        for group, name in zip(groups.tolist(), photos.names, strict=True):
            members.setdefault(group, []).append(name)
        kept = [own for own in members.values() if len(own) > 1]
        report = {"given": [], "made": made, "seed": self.seed, "kept_together": kept}
        return photos._replace(splits=splits), report | {"fractions": self.fractions}

    def _labeled(
        self,
        photos: Photos,
        listed: Mapping[str, LabelRow],
        classes: Sequence[str],
        boxes: Mapping[str, Sequence[NotedBox]],
        split: str,
    ) -> list[LabeledImage]:
        """Give images of a split their labels and, for evaluation, their boxes."""
        label_of = {name: label for label, name in enumerate(classes)}
        plain = {name.casefold(): label for name, label in label_of.items()}
        found = []
        for name, facts in zip(photos.names, photos.facts, strict=True):
            image = LabeledImage(name, sorted(label_of[c] for c in listed[name].classes))
            for box in boxes.get(name, ()) if split != "train" else ():
                label = plain.get(box.label.casefold())
                if label not in image.labels:
                    raise DataError(
                        f"{box.where}: {name} has no class {box.label[:40]!r} in"
                        f" {listed[name].where}; correct one of the two."
                    )
                size = facts.size(self.exif_orientation)
                image.boxes = [*image.boxes, (label, truncated_box(box.corners, size, box.where))]
            found.append(image)
        return found

    def _rows(self, photos: Photos, images: Sequence[LabeledImage], split: str) -> SplitRows:
        sizes = [facts.size(self.exif_orientation) for facts in photos.facts]
        return multilabel_rows(images, None if split == "train" else np.array(sizes, np.int64))
