"""Splits of a data set: made by its reader, read, checked and described."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from lightning import LightningDataModule

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.checks import check_files, check_inside, read_sizes
from learned_saliency.datamodules.classes import (
    check_classes,
    check_labels,
    check_use,
    find_classes,
)
from learned_saliency.datamodules.decoding import Decoding
from learned_saliency.datamodules.known_classes import KnownClasses, match_classes
from learned_saliency.datamodules.masks import warn_of_empty_masks
from learned_saliency.datamodules.metadata import (
    SPLITS,
    SplitMetadata,
    draw_sample,
    first_samples,
    keep_classes,
    keep_places,
    permute_labels,
    read_split,
)
from learned_saliency.datamodules.multilabel import read_multilabel_split
from learned_saliency.datamodules.opening import complaint, image_source
from learned_saliency.datamodules.parts import PartReader
from learned_saliency.datamodules.readers import (
    Reader,
    SplitReader,
    image_opener,
    image_roots,
    mask_opener,
    mask_values,
)
from learned_saliency.datamodules.regression import read_regression_split
from learned_saliency.datamodules.shares import split_shares
from learned_saliency.datamodules.textfile import DataError

_EVALUATED = ("validate", "test", "predict")  # Lightning's names for the use of a single split
_REQUIRED = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
_MAX_OPENED = 50_000  # opening more files would take minutes on a network disk


_READERS = {"multilabel": read_multilabel_split, "regression": read_regression_split}


class SplitDataModule(LightningDataModule):
    """Base of `WSOLDataModule`, which sets the attributes: everything about splits but loading.

    The arguments are those of `WSOLDataModule`.

    Attributes:
        shares: Shares of ``val`` that the splits "train" and "val" are; empty for the usual data,
            see `with_shares`.
    """

    root: Path
    metadata: Path
    mask_root: Path
    decoding: Decoding

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
            DataError: If the original download is missing or unusable.
        """
        self._made = True
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

    @property
    def learned_from(self) -> dict[str, str | int | float] | None:
        """Supervision of the share of ``val`` that is learned from; None where there is none."""
        return self.supervision("train") if self.shares else None

    def state_dict(self) -> dict[str, Any]:
        """Return what tells the training images from others: a digest of their ids and labels."""
        train = self._splits.get("train")
        return {} if train is None else {"train": train.digest()}

    def told_classes(self) -> str:
        """Describe how many classes and images a classifier of other classes knows.

        Returns:
            A sentence; empty where labels have their own meaning, or there are none.
        """
        images = sum(self._labeled.values())
        if self._translation is None or self._translation.kept or not images:
            return ""
        return self._translation.told(images, sum(map(self.num_labeled, self._splits)))

    def num_labeled(self, split: str) -> int:
        """Return the number of images of a split whose class is known, or classes for multi-label.

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up.
        """
        found = self._split(split)
        return int((found.labels != UNKNOWN).sum()) if found.presence is None else len(found)

    def labels(self, split: str) -> np.ndarray:
        """Return the class of each image of a split, int64 (N,), -1 where it is unknown.

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up.
        """
        return self._split(split).labels.copy()

    def values(self, split: str) -> np.ndarray:
        """Return the values of each image of a split, float64 (N, T), of a regression.

        Raises:
            ValueError: If there is no such split, or the task is no regression.
            DataError: If the split is not set up.
        """
        found = self._split(split).values
        if found is None:
            raise ValueError(f"task={self.task} has no values")
        return found.copy()

    def digest(self, split: str) -> str:
        """Return what tells the images of a split with all their truth from others.

        Files of images and masks are told by their sizes and times; see `labels` for the errors.
        """
        found = self._split(split)
        told = hashlib.sha256(found.digest().encode())
        for values in (found.sizes, found.boxes, found.box_images):
            told.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        files = [self.root / name for name in found.files]
        for paths in (found.mask_paths, found.ignore_paths):
            files += [self.mask_root / path for of_image in paths or [] for path in of_image]
        for file in files:
            state = file.stat() if file.is_file() else None
            told.update(f"{file}\0{state and (state.st_size, state.st_mtime_ns)}\n".encode())
        return told.hexdigest()

    def count(self, split: str) -> int:
        """Count the images of a split, or the samples where an image may be several of them.

        See `labels` for the errors.
        """
        return len(self._split(split))

    def image_ids(self, split: str) -> list[str]:
        """Return the ids of a split's images in their order; see `labels` for the errors."""
        return list(self._split(split).image_ids)

    def image_sizes(self, split: str) -> np.ndarray:
        """Return width and height of a split's images in pixels, int64 (N, 2).

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up, or an image cannot be read.
        """
        found = self._split(split)
        if found.sizes is not None:
            return found.sizes.copy()
        opener = image_opener(self.reader, self.root)
        images = [image_source(self.root, name, opener) for name in found.files]
        sizes, broken = read_sizes(images, self.decoding)
        for i, error in broken.items():
            raise DataError(f"{images[i]}: the image {complaint(error)}.")
        return sizes

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

    def has_split(self, split: str) -> bool:
        """Return whether a split was there when the data were set up."""
        return split in self._splits

    def has_boxes(self, split: str) -> bool:
        """Return whether the batches of a split hold ``boxes``.

        Args:
            split: "train", "val" or "test".

        Returns:
            False for "train" in any case but that of `with_shares`.

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up.
        """
        return self._split(split).boxes is not None

    def has_masks(self, split: str) -> bool:
        """Return whether the batches of a split hold ``mask``; see `has_boxes` for arguments."""
        return self._split(split).mask_paths is not None

    def supervision(self, split: str) -> dict[str, str | int | float]:
        """Count the images, boxes and masks that a choice made on a split has seen.

        Args:
            split: "train", "val" or "test".

        Returns:
            The split's name as "split" and the numbers of its "images", "boxes" and instance
            "masks"; where an image may be several samples, their number as "samples"; where images
            lack a label, that of the others as "labels". Of a share of ``val``, see `with_shares`,
            the "split" is "val" and "share" is its part.

        Raises:
            ValueError: If there is no such split.
            DataError: If the split is not set up.
        """
        found, labels = self._split(split), self.num_labeled(split)
        share = {"share": self.shares[split]} if split in self.shares else {}
        several = {} if found.sources is None else {"samples": len(found)}
        found = found if found.presence is not None else first_samples(found)
        return {
            "split": "val" if share else split,
            **share,
            "images": len(set(found.files)),
            **several,
            "boxes": 0 if found.boxes is None else len(found.boxes),
            "masks": sum(map(len, found.mask_paths or [])),
            **({"labels": labels} if labels < len(found) else {}),
        }

    def _split(self, split: str) -> SplitMetadata:
        if split not in SPLITS:
            raise ValueError(f"expected one of {', '.join(SPLITS)} as split, got {split!r}")
        if split not in self._splits:
            folder = self.metadata / split
            raise DataError(f"{folder}: the split {split!r} is not set up; call `setup` first.")
        return self._splits[split]


def _with_all_classes(split: SplitMetadata, num_classes: int) -> SplitMetadata:
    """Give the classes of images, where these have several, a column for each class there is."""
    if split.presence is None:
        return split
    further = num_classes - split.presence.shape[1]
    return replace(split, presence=np.pad(split.presence, ((0, 0), (0, further))))
