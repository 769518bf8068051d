"""Splits of a data set: made by its reader, read and checked."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from lightning import LightningDataModule

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.checks import check_files, check_inside
from learned_saliency.datamodules.classes import (
    check_classes,
    check_labels,
    check_use,
    find_classes,
)
from learned_saliency.datamodules.known_classes import KnownClasses, match_classes
from learned_saliency.datamodules.masks import warn_of_empty_masks
from learned_saliency.datamodules.metadata import SPLITS, SplitMetadata, read_split
from learned_saliency.datamodules.multilabel import read_multilabel_split
from learned_saliency.datamodules.parts import PartReader
from learned_saliency.datamodules.readers import (
    Reader,
    SplitReader,
    image_opener,
    image_roots,
    mask_opener,
    mask_values,
    tasks,
)
from learned_saliency.datamodules.regression import read_regression_split
from learned_saliency.datamodules.selection import (
    draw_sample,
    keep_classes,
    keep_places,
    permute_labels,
)
from learned_saliency.datamodules.shares import split_shares
from learned_saliency.datamodules.split_facts import SplitFacts
from learned_saliency.datamodules.textfile import DataError

_EVALUATED = ("validate", "test", "predict")  # Lightning's names for the use of a single split
_REQUIRED = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
_MAX_OPENED = 50_000  # opening more files would take minutes on a network disk
_READERS = {"multilabel": read_multilabel_split, "regression": read_regression_split}


class SplitDataModule(SplitFacts, LightningDataModule):
    """Base of `WSOLDataModule`, which sets the attributes: everything about splits but loading.

    The arguments are those of `WSOLDataModule`.

    Attributes:
        shares: Shares of ``val`` that the splits "train" and "val" are; empty for the usual data,
            see `with_shares`.
    """

    def __init__(
        self,
        *,
        name: str = "wsol",
        task: str = "multiclass",
        reader: Reader | None = None,
        parts: Callable[[Path, Path], PartReader] | None = None,
        class_names: Sequence[str] | None = None,
        known_classes: Sequence[str] | None = None,
        num_classes: int | None = None,
        classes: Sequence[int] | None = None,
        permute_labels: int | None = None,
        allow_outside_root: bool = False,
        read_only: bool = False,
        verify_images: bool = True,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.name, self.task, self.reader, self._make_parts = name, task, reader, parts
        self.num_classes, self.limit, self.seed = num_classes, limit, seed
        self.allow_outside_root, self.read_only = allow_outside_root, read_only
        self.verify_images, self.permute_labels = verify_images, permute_labels
        self.classes = None if classes is None else sorted(set(classes))
        self.class_names = None if class_names is None else list(class_names)
        self.known_classes = None if known_classes is None else list(known_classes)
        self.shares: dict[str, float] = {}
        self._made = False
        self._splits: dict[str, SplitMetadata] = {}
        self._translation: KnownClasses | None = None
        self._labeled: dict[str, int] = {}  # images with a label before the translation, by split

    def make(self, stage: str | None = None) -> None:
        """Let the reader make the missing files of a stage's splits, unless it may not write.

        Args:
            stage: "fit" takes train and val, "validate" val, "test" and "predict" test, None all.

        Raises:
            DataError: If the original download is missing or unusable, or its labels are not of the
                task.
        """
        self._made = True
        if (known := tasks(self.reader)) and self.task not in known:
            raise DataError(
                f"data.task={self.task}: data={self.name} is of {' or '.join(known)} alone; leave "
                "data.task out, or give such labels as text files, data=wsol."
            )
        if self.read_only:
            return
        if isinstance(self.reader, SplitReader):
            self.reader.prepare_splits(self.root, self.metadata, _REQUIRED.get(stage, SPLITS))
        elif self.reader is not None:
            self.reader.prepare(self.root, self.metadata)

    def prepare_data(self) -> None:
        """Let the reader make all missing files, unless `make` was called; see there.

        Lightning calls this in one process per machine.
        """
        if not self._made:
            self.make()

    def setup(self, stage: str | None = None) -> None:
        """Read and check the splits of a stage; a split that is set up already is left alone.

        Args:
            stage: "fit" takes train, val and, if there is one, test, so that a broken test split
                shows before the training; "validate" takes val, "test" and "predict" take test;
                None takes every split there is.

        Raises:
            DataError: If the data set cannot be used; one sentence names file, line and remedy.
        """
        if not self.root.is_dir():
            raise DataError(f"{self.root}: the root folder of the images is missing; set `root`.")
        required = _REQUIRED.get(stage, ())
        wanted = required if stage in _EVALUATED else SPLITS
        read = {
            split: self._read(self.metadata / split, localization=split != "train")
            for split in wanted
            if split not in self._splits and (split in required or (self.metadata / split).is_dir())
        }
        if not read and not self._splits:
            raise DataError(
                f"{self.metadata}: holds none of the folders {', '.join(SPLITS)}; set `metadata`."
            )
        if self._translation is None:
            self._settle_classes(self._splits | read)
        if self.classes is not None:
            check_classes(self.classes, self.num_classes)
        self._splits |= {name: self._checked(name, split) for name, split in read.items()}

    @property
    def _read(self) -> Callable[..., SplitMetadata]:
        """Reader of a split, as the task wants its labels."""
        return _READERS.get(self.task, read_split)

    def _settle_classes(self, splits: Mapping[str, SplitMetadata]) -> None:
        """Settle the number of classes and their names, and how labels are translated."""
        self.num_classes, self.class_names = find_classes(
            self.metadata,
            splits,
            num_classes=self.num_classes,
            class_names=self.class_names,
            read=self._read,
        )
        if self.known_classes is not None:
            self._translation = match_classes(self.class_names, self.known_classes)
            if self.task == "regression" and not self._translation.kept:
                raise DataError(
                    f"{self.metadata}: the values {', '.join(self.class_names)} are not those that "
                    f"the network tells, {', '.join(self.known_classes)}; give each line of "
                    "values.txt these, in this order, and name them so in class_names.txt."
                )
            self.num_classes, self.class_names = len(self.known_classes), self.known_classes

    def _checked(self, name: str, split: SplitMetadata) -> SplitMetadata:
        """Check a split that was read, and leave out the images that are not wanted.

        Raises:
            DataError: See `setup`.
        """
        translation = self._translation
        check_labels(split, self.num_classes if translation is None else len(translation.names))
        labels = dict(zip(split.image_ids, split.labels.tolist(), strict=True))
        if translation is not None:
            split = translation.apply(split)
        split = _with_all_classes(split, self.num_classes)
        if self.classes is not None and name != "test":
            split = keep_classes(split, self.classes)
        if name == "train" and (translation is None or translation.kept):
            check_use(split, self.class_names, self.classes)
        if self.permute_labels is not None and name == "train":
            split = permute_labels(split, self.permute_labels)
        if not self.allow_outside_root:
            check_inside(split, self.root, self.mask_root, image_roots(self.reader))
        if self.limit is not None and name != "train":
            split = draw_sample(split, self.limit, self.seed)
        told = split.presence is not None
        self._labeled[name] = sum(told or labels[name] != UNKNOWN for name in split.image_ids)
        open_files = self.verify_images and len(split) <= _MAX_OPENED
        check_files(
            split,
            self.root,
            self.mask_root,
            open_files=open_files,
            decoding=self.decoding,
            opener=image_opener(self.reader, self.root),
            mask_opener=(of_masks := mask_opener(self.reader, self.mask_root)),
        )
        if open_files and split.mask_paths is not None:
            values = mask_values(self.reader)
            warn_of_empty_masks(split, self.mask_root, self.decoding, values, of_masks)
        return split

    def with_shares(self, share: float, seed: int) -> Self:
        """Give the data of a training by full supervision: shares of ``val`` as "train" and "val".

        The images, boxes and masks of the first share are its training split, those of the other
        one its ``val``; the images of the training split proper are not in it, and ``test`` is as
        it was. This data module stays as it is.

        Args:
            share: See `split_shares`.
            seed: See `split_shares`.

        Raises:
            ValueError: If an argument is out of range.
            DataError: If ``val`` is not set up, has neither boxes nor masks, or too few images.
        """
        learned, chosen = split_shares(self._split("val"), share, seed)
        other = copy.copy(self)
        other._splits = self._splits | {"train": learned, "val": chosen}
        other.shares = {"train": share, "val": round(1 - share, 10)}
        return other

    def keep_images(self, split: str, places: Sequence[int]) -> None:
        """Leave all images of a split out but some, before anything of it is loaded.

        Args:
            split: "train", "val" or "test".
            places: Places of the images that stay, in ascending order; at least one.

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up.
        """
        self._splits[split] = keep_places(self._split(split), np.array(places, np.int64))

    def parts(self) -> PartReader:
        """Open the labels of the parts.

        Raises:
            DataError: If the data set has no part labels, their files are missing or malformed, or
                the labels are those of a classifier of other classes.
        """
        if self._translation is not None and not self._translation.kept:
            raise DataError(
                f"data={self.name}: the classifier was trained on other classes than those whose "
                "parts are labeled; choose one that was trained on them."
            )
        if self._make_parts is None:
            raise DataError(
                f"data={self.name}: has no labels of parts; choose data=creatures or data=cub."
            )
        return self._make_parts(self.root, self.metadata)


def _with_all_classes(split: SplitMetadata, num_classes: int) -> SplitMetadata:
    """Give the classes of images, where these have several, a column for each class there is."""
    if split.presence is None:
        return split
    further = num_classes - split.presence.shape[1]
    return replace(split, presence=np.pad(split.presence, ((0, 0), (0, further))))
