"""Facts about the splits of a data set that is set up."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from learned_saliency.datamodules.batch import UNKNOWN
from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.decoding import Decoding
from learned_saliency.datamodules.known_classes import KnownClasses
from learned_saliency.datamodules.metadata import SPLITS, SplitMetadata
from learned_saliency.datamodules.opening import complaint, image_source
from learned_saliency.datamodules.readers import Reader, image_files, image_opener, mask_files
from learned_saliency.datamodules.selection import first_samples
from learned_saliency.datamodules.textfile import DataError


class SplitFacts:
    """Part of `SplitDataModule`, which sets the attributes: everything that its splits tell."""

    root: Path
    metadata: Path
    mask_root: Path
    decoding: Decoding
    task: str
    reader: Reader | None
    shares: dict[str, float]
    _splits: dict[str, SplitMetadata]
    _translation: KnownClasses | None
    _labeled: dict[str, int]

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

        Files of images and masks, or those that they are parts of, are told by their sizes and
        times; see `labels` for the errors.
        """
        found = self._split(split)
        told = hashlib.sha256(found.digest().encode())
        for values in (found.sizes, found.boxes, found.box_images):
            told.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        files = [self.root / name for name in image_files(self.reader, found.files)]
        for paths in (found.mask_paths, found.ignore_paths):
            own = [path for of_image in paths or [] for path in of_image]
            files += [self.mask_root / path for path in mask_files(self.reader, own)]
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
