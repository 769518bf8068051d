"""Data sets of one split that give whole batches, for training and for evaluation."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from learned_saliency.datamodules.batch import WSOLBatch
from learned_saliency.datamodules.decoding import AS_STORED, Decoding
from learned_saliency.datamodules.masks import MaskValues, read_mask
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.opening import image_source
from learned_saliency.datamodules.transforms import (
    random_crop_flip,
    read_square,
    scale_boxes,
    standardize,
)

Opener = Callable[[str], bytes]


class _ImageDataset(Dataset):
    """Images, labels and ids; a loader gets whole batches, so its ``collate_fn`` is ``as_is``."""

    def __init__(
        self,
        metadata: SplitMetadata,
        root: Path,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        cache: bool = False,
        decoding: Decoding = AS_STORED,
        opener: Opener | None = None,
    ) -> None:
        self._root, self._opener = root, opener
        # arrays, not lists: workers would copy the pages of every string whose count they touch
        self._ids = np.array(metadata.image_ids)
        self._labels = torch.from_numpy(metadata.labels)
        self._size = size
        self._mean, self._std = torch.tensor(mean).float(), torch.tensor(std).float()
        self._cached, self._decoding = cache, decoding
        self._center_crop = False
        self._images: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._ids)

    def fill_cache(self) -> None:
        """Decode and resize all images into memory, 3 R^2 bytes each, if caching was asked for.

        Raises:
            DataError: If an image does not decode.
        """
        if self._cached and self._images is None:
            self._images = _read_all(self._read, len(self))

    def _read(self, index: int) -> Tensor:
        source = image_source(self._root, str(self._ids[index]), self._opener)
        return read_square(source, self._size, self._center_crop, self._decoding)

    def _read_rows(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return resized images, uint8 (N, 3, R, R), and the rows of ``indices`` in them, (B,)."""
        if self._images is not None:
            return self._images, torch.tensor(indices, dtype=torch.int64)
        if not indices:
            return torch.empty((0, 3, self._size, self._size), dtype=torch.uint8), torch.arange(0)
        return torch.stack([self._read(index) for index in indices]), torch.arange(len(indices))

    def _batch(self, indices: Sequence[int], images: Tensor) -> WSOLBatch:
        """Build the common entries of training and evaluation batches around uint8 images."""
        index = torch.tensor(indices, dtype=torch.int64)
        return {
            "image": standardize(images, self._mean, self._std),
            "label": self._labels[index],
            "image_id": self._ids[index.numpy()].tolist(),
            "index": index,
        }


class TrainDataset(_ImageDataset):
    """Training images, randomly cropped and flipped.

    Args:
        metadata: The split; only ids and labels are used.
        root: Folder that ids are relative to.
        size: Side R in pixels to which images are resized.
        crop_size: Side S in pixels of the random crop, at most R.
        mean: Mean of each of the 3 channels, in [0, 1].
        std: Standard deviation of each of the 3 channels, positive.
        cache: Whether ``fill_cache`` keeps the resized images in memory.
        decoding: What the data set declares about its files.
        opener: Reads an image's bytes by its id, where images are no files below ``root``.
    """

    def __init__(
        self,
        metadata: SplitMetadata,
        root: Path,
        *,
        size: int,
        crop_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        cache: bool = False,
        decoding: Decoding = AS_STORED,
        opener: Opener | None = None,
    ) -> None:
        options = {"size": size, "mean": mean, "std": std, "cache": cache, "decoding": decoding}
        super().__init__(metadata, root, opener=opener, **options)
        self._crop_size = crop_size

    def __getitems__(self, items: Sequence[tuple[int, int] | int]) -> WSOLBatch:
        """Load a batch; ``items`` are (index, draw) pairs as ``TrainSampler`` yields them.

        A mere index, which Lightning's ``overfit_batches`` brings, stands for the draw 0.

        Raises:
            DataError: If an image does not decode.
        """
        pairs = [item if isinstance(item, tuple) else (item, 0) for item in items]
        indices, draws = zip(*pairs, strict=True)
        images, rows = self._read_rows(indices)
        crops = random_crop_flip(images, rows, torch.tensor(draws), self._crop_size)
        return self._batch(indices, crops)


class EvaluationDataset(_ImageDataset):
    """Images resized as they are, with boxes and masks where the metadata has them.

    Args:
        metadata: The split.
        root: Folder that ids are relative to.
        mask_root: Folder that mask paths are relative to.
        size: Side S in pixels to which images, boxes and masks are resized.
        mean: Mean of each of the 3 channels, in [0, 1].
        std: Standard deviation of each of the 3 channels, positive.
        center_crop: Whether the shorter edge is resized to ``size`` and the middle cut out, instead
            of resizing both edges to it.
        seen: Classes that were trained on, for the batches' ``seen``; None leaves it out.
        cache: Whether ``fill_cache`` keeps images and masks in memory.
        decoding: What the data set declares about its files.
        opener: Reads an image's bytes by its id, where images are no files below ``root``.
        mask_values: What it declares about the values of its masks; None for plain masks.
    """

    def __init__(
        self,
        metadata: SplitMetadata,
        root: Path,
        mask_root: Path,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        center_crop: bool = False,
        seen: Sequence[int] | None = None,
        cache: bool = False,
        decoding: Decoding = AS_STORED,
        opener: Opener | None = None,
        mask_values: MaskValues | None = None,
    ) -> None:
        options = {"size": size, "mean": mean, "std": std, "cache": cache, "decoding": decoding}
        super().__init__(metadata, root, opener=opener, **options)
        self._center_crop, self._mask_values = center_crop, mask_values
        self._seen = None if seen is None else torch.isin(self._labels, torch.tensor(seen))
        self._mask_root = mask_root
        self._mask_paths, self._ignore_paths = metadata.mask_paths, metadata.ignore_paths
        self._boxes = _boxes_by_image(metadata, size, center_crop)
        self._masks: Tensor | None = None

    def fill_cache(self) -> None:
        """Decode and resize all images and masks into memory, if caching was asked for.

        Raises:
            DataError: If an image or a mask does not decode.
        """
        super().fill_cache()
        if self._cached and self._masks is None and self._mask_paths is not None:
            self._masks = _read_all(self._read_mask, len(self))

    def __getitems__(self, indices: Sequence[int]) -> WSOLBatch:
        """Load a batch of the images at ``indices``, which may be empty.

        Raises:
            DataError: If an image or a mask does not decode.
        """
        images, rows = self._read_rows(indices)
        batch = self._batch(indices, images[rows])
        if self._seen is not None:
            batch["seen"] = self._seen[batch["index"]]
        if self._boxes is not None:
            batch["boxes"] = [self._boxes[index] for index in indices]
        if self._masks is not None:
            batch["mask"] = self._masks[batch["index"]]
        elif self._mask_paths is not None:
            masks = [self._read_mask(index) for index in indices]
            empty = torch.empty((0, self._size, self._size), dtype=torch.uint8)
            batch["mask"] = torch.stack(masks) if masks else empty
        return batch

    def _read_mask(self, index: int) -> Tensor:
        masks = [self._mask_root / path for path in self._mask_paths[index]]
        ignores = [self._mask_root / path for path in self._ignore_paths[index]]
        options = (self._size, self._center_crop, self._decoding, self._mask_values)
        return read_mask(masks, ignores, *options)


def as_is(batch: WSOLBatch) -> WSOLBatch:
    """Return the batch as it is: the ``collate_fn`` for data sets that give whole batches."""
    return batch


def _boxes_by_image(metadata: SplitMetadata, size: int, center_crop: bool) -> list[Tensor] | None:
    """Scale all boxes at once; return N tensors of shape (n, 4)."""
    if metadata.boxes is None:
        return None
    order = np.argsort(metadata.box_images, kind="stable")
    images = metadata.box_images[order]
    boxes = torch.from_numpy(metadata.boxes[order])
    scaled = scale_boxes(boxes, torch.from_numpy(metadata.sizes[images]), size, center_crop)
    return list(scaled.split(np.bincount(images, minlength=len(metadata)).tolist()))


def _read_all(read: Callable[[int], Tensor], count: int) -> Tensor:
    """Stack the results of ``read`` for 0, 1, ... in one piece of memory, reading in threads."""
    first = read(0)
    stacked = first.new_empty((count, *first.shape))

    def store(index: int) -> None:
        stacked[index] = read(index)

    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool:
        for _ in pool.map(store, range(count)):
            pass
    return stacked
