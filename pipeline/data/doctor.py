"""Examination of a data set: what is missing, what cannot be, and how much there is of it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from learned_saliency.datamodules import (
    COLORS,
    SPLITS,
    DataError,
    WSOLDataModule,
    image_opener,
    image_roots,
    image_source,
    mask_opener,
    mask_values,
    published,
    read_class_names,
    sources,
)
from learned_saliency.pipeline.data import checks
from learned_saliency.pipeline.data.content import Content, SplitContent
from learned_saliency.pipeline.data.counts import (
    ClassCounts,
    Counts,
    count_classes,
    count_split,
)
from learned_saliency.pipeline.data.findings import Findings, Severity
from learned_saliency.pipeline.data.journal import Journal, Stamp
from learned_saliency.pipeline.data.reading import Depth, FileReader
from learned_saliency.pipeline.data.tablereading import read_table
from learned_saliency.pipeline.data.tables import SplitTable
from learned_saliency.pipeline.runs import create_data, make_data
from learned_saliency.storage import read_json

JOURNAL = "files.jsonl"
_REQUIRED = ("train", "val")  # splits that a training needs
_MOST_COMPARED = 50_000  # images, the comparison of which takes a minute for itself


class Examination(NamedTuple):
    """Result of an examination.

    Attributes:
        name: Name of the data set.
        root: Folder of its images.
        metadata: Folder of its metadata.
        findings: What was found.
        counts: Counts of each split, and the published ones.
        class_counts: Counts of each class by splits and labels, where images have several.
        class_names: Names of the classes, as far as they are known.
        files: Number of images and masks that were looked at.
        opened: Number of those that had to be opened for it.
    """

    name: str
    root: Path
    metadata: Path
    findings: Findings
    counts: dict[str, Counts]
    class_counts: dict[str, dict[int, ClassCounts]]
    class_names: list[str]
    files: int
    opened: int


def examine(config: DictConfig, folder: Path) -> Examination:
    """Examine a data set.

    Args:
        config: The composed configuration.
        folder: Folder of the journal, beside the report.

    Raises:
        UserError: If an option of the data set is wrong.
        OSError: If the journal cannot be written.
    """
    return _Doctor(config, folder).examine()


class _Doctor:
    """Examiner of one data set."""

    def __init__(self, config: DictConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.data: WSOLDataModule = create_data(config)
        self.findings = Findings()
        self.files: list[str] = []

    def examine(self) -> Examination:
        """Look at the download, make the metadata, and check all that there is."""
        data, findings = self.data, self.findings
        checks.check_download(data.root, sources(data.reader), findings)
        self._make()
        tables = self._read_tables()
        if data.root.is_dir():
            left_out = [data.metadata, self.folder]
            arrays = data.decoding.channels != COLORS
            self.files = list(checks.image_files(data.root, left_out, arrays))
        count = sum(len(table.ids) for table in tables) or len(self.files)
        reader = self._file_reader(count)
        counts, classes = {}, {}
        if tables:
            content = self._read_content(tables, reader)
            self._check(content, reader)
            stated = published(data.reader)
            counts = {table.name: count_split(table, stated) for table in tables}
            classes = {table.name: count_classes(table) for table in tables if table.several}
            self._compare_counts(counts)
        else:
            self._check_loose(reader)
        self._try_training()
        return Examination(
            data.name,
            data.root,
            data.metadata,
            findings,
            counts,
            classes,
            self._class_names(),
            reader.files,
            reader.opened,
        )

    def _make(self) -> None:
        """Let the reader write the metadata; what it refuses is a finding."""
        if self.data.reader is None or self.data.read_only:
            return
        try:
            make_data(self.data, None)
        except DataError as error:
            self.findings.add_refusal("reader", self.data.root, error)

    def _read_tables(self) -> list[SplitTable]:
        """Read the text files of the splits that there are."""
        tables: list[SplitTable] = []
        if not _is_of_root(self.data.metadata, self.data.root):
            return tables  # the reader has refused the root and left them there
        if not any((self.data.metadata / split).is_dir() for split in SPLITS):
            if not self.findings.count(Severity.ERROR):  # which may be why
                message = f"holds none of the folders {', '.join(SPLITS)}; set data.metadata."
                self.findings.add("split", self.data.metadata, message)
            return tables
        for split in SPLITS:
            folder = self.data.metadata / split
            if folder.is_dir():
                tables.append(read_table(folder, self.findings, self.data.task))
            elif split in _REQUIRED:
                self.findings.add("split", folder, "is missing; no training can do without it.")
            else:
                message = "is missing; a training needs test=false without it."
                self.findings.add("split-option", folder, message)
        return tables

    def _file_reader(self, count: int) -> FileReader:
        """Make the reader of files, as deep as is wanted for so many images."""
        wanted = self.config.near_duplicates
        look = count <= _MOST_COMPARED if wanted is None else wanted
        if not look:
            message = (
                f"near duplicates are not looked for among {count} images, which would decode all "
                "of them; near_duplicates=true does it."
            )
            self.findings.add("unsearched", self.data.root, message)
        packed = image_opener(self.data.reader, self.data.root) is not None
        return FileReader(
            Journal(self.folder / JOURNAL),
            Depth(self.config.full_decode, look),
            self.config.workers,
            _state_of(self.data.root) if packed else Stamp(0, 0),
            self.data.decoding,
        )

    def _read_content(self, tables: Sequence[SplitTable], reader: FileReader) -> Content:
        """Read the facts about all images and masks."""
        data = self.data
        opener = image_opener(data.reader, data.root)
        locate = partial(image_source, data.root, opener=opener)
        splits = [SplitContent(table, reader.images(table.ids, locate)) for table in tables]
        of_masks = mask_opener(data.reader, data.mask_root)
        place = partial(image_source, data.mask_root, opener=of_masks)
        rows = [row for table in tables for row in table.masks or ()]
        masks = list(dict.fromkeys(row.mask for row in rows if row.mask))
        ignores = list(dict.fromkeys(row.ignore for row in rows if row.ignore))
        return Content(
            data.metadata,
            splits,
            dict(zip(masks, reader.masks(masks, place, mask_values(data.reader)), strict=True)),
            dict(zip(ignores, reader.masks(ignores, place), strict=True)),
            locate,
            place,
            data.decoding.exif_orientation,
        )

    def _check(self, content: Content, reader: FileReader) -> None:
        data, findings = self.data, self.findings
        checks.check_forms(content, data.root, data.decoding.channels, findings)
        for split in content.splits:
            checks.check_images(content, split, findings)
            with findings.at_most(split.table.most):
                checks.check_boxes(content, split, findings)
                checks.check_masks(content, split, findings)
        checks.check_classes(
            content,
            findings,
            num_classes=data.num_classes,
            class_names=data.class_names,
            classes=data.classes,
        )
        checks.check_copies(content, lambda names: reader.contents(names, content.locate), findings)
        if not data.allow_outside_root:
            further = image_roots(data.reader)
            checks.check_inside(content, data.root, data.mask_root, further, findings)
        if image_opener(data.reader, data.root) is None:
            checks.check_unlisted(content, data.root, self.files, findings)

    def _compare_counts(self, counts: dict[str, Counts]) -> None:
        for split, found in counts.items():
            for difference in found.differences():
                message = f"has {difference}; see whether the download is complete."
                self.findings.add("count", self.data.metadata / split, message)

    def _check_loose(self, reader: FileReader) -> None:
        """Look at the images themselves, where no metadata lists them."""
        for file, facts in zip(self.files, reader.images(self.files, Path), strict=True):
            if facts.problem:
                self.findings.add("image-damaged", file, f"{facts.problem}; replace it.")

    def _class_names(self) -> list[str]:
        """Read the names of the classes; none where they are unknown or cannot be read."""
        if self.data.class_names is not None:
            return list(self.data.class_names)
        try:
            return read_class_names(self.data.metadata / "class_names.txt") or []
        except DataError:
            return []

    def _try_training(self) -> None:
        """Let the data module check what a training does, lest it refuse what passed so far."""
        if self.findings.count(Severity.ERROR):
            return
        self.data.verify_images = False  # all of them were looked at
        with warnings.catch_warnings(record=True):
            try:
                self.data.setup()
            except DataError as error:
                self.findings.add_refusal("refused", self.data.metadata, error)


def _is_of_root(metadata: Path, root: Path) -> bool:
    """Tell whether metadata has no stamp of a reader that made it for another root."""
    for stamp in metadata.glob("*_reader.json"):
        try:
            made_for = read_json(stamp).get("root")
        except (OSError, ValueError, AttributeError):
            continue
        if made_for not in (None, str(root)):
            return False
    return True


def _state_of(root: Path) -> Stamp:
    """Sum up the states of all files below a folder, whose parts the images are."""
    files = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]
    found = [os.stat(file) for file in files if os.path.exists(file)]  # links may lead nowhere
    return Stamp(sum(s.st_size for s in found), max((s.st_mtime_ns for s in found), default=0))
