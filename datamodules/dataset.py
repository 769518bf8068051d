"""Data sets of one split that give whole batches, for training and for evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL
import torch
from torch import Tensor
from torch.utils.data import Dataset

from learned_saliency.datamodules.batch import WSOLBatch
from learned_saliency.datamodules.decoding import AS_STORED, COLORS, Decoding
from learned_saliency.datamodules.in_memory import read_all
from learned_saliency.datamodules.kept_images import KeptImages, keep_images
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.opening import ImageSource, image_source
from learned_saliency.datamodules.resampling import Window
from learned_saliency.datamodules.selection import images_of
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.transforms import (
    cut_window,
    drawn_window,
    read_window,
    scaled,
    standardize_into,
)
from learned_saliency.datamodules.truth import Truth

CACHES = ("none", "memory", "disk")
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, odd: spreads a number's bits
_LAYOUT = 1  # raise it with every change of the pixels or files that are kept on disk


class ImageOptions(NamedTuple):
    """Options of how images become batches, the same for training and evaluation.

    Attributes:
        mean: Mean of each of the C channels, in [0, 1].
        std: Standard deviation of each of them, positive.
        decoding: What the data set declares about its files.
        opener: Reads an image's bytes by its id, where images are no files below the root.
        cache: Where ``fill_cache`` keeps the resized images: "none", "memory" or "disk".
        cache_folder: Folder of images kept on disk, of all data sets.
        mask_opener: Reads a mask's bytes by its path, where masks are no files.
    """

    mean: Sequence[float]
    std: Sequence[float]
    decoding: Decoding = AS_STORED
    opener: Callable[[str], bytes] | None = None
    cache: str = "none"
    cache_folder: Path | None = None
    mask_opener: Callable[[str], bytes] | None = None


class ImageDataset(Dataset, ABC):
    """Images, labels and ids; a loader gets whole batches, so its ``collate_fn`` is ``as_is``.

    A subclass gives ``_read``, which makes of an image what is kept in a cache, and may set
    ``_truth``, the boxes and masks of the images.
    """

    def __init__(
        self, metadata: SplitMetadata, root: Path, size: Size, options: ImageOptions
    ) -> None:
        self._root = root
        # arrays, not lists: workers would copy the pages of every string whose count they touch
        self._ids = np.array(metadata.image_ids)
        self._files = self._ids if metadata.sources is None else np.array(metadata.sources)
        self._values = None if metadata.values is None else torch.tensor(metadata.values).float()
        self._presence = None if metadata.presence is None else torch.tensor(metadata.presence)
        self._labels = torch.from_numpy(metadata.labels)
        self._size, self._options, self._channels = size, options, options.decoding.channels
        channels = (torch.tensor(values).float() for values in (options.mean, options.std))
        self._mean, self._std = scaled(*channels)
        self._images: Tensor | KeptImages | None = None
        self._truth: Truth | None = None
        self._firsts, self._rows = images_of(metadata)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._ids)

    def fill_cache(self) -> None:
        """Decode and resize all images once, 3 H W bytes or 4 C H W of others, if asked for.

        In memory all masks are kept as well.

        Raises:
            DataError: If an image or a mask does not decode.
            OSError: If the disk of the cache is full.
        """
        if self._images is not None:
            return
        if self._options.cache == "memory":
            images = read_all(
                lambda row: self._read(self._source(self._firsts[row])), len(self._firsts)
            )
            if self._truth is not None:
                self._truth.keep_masks()
            self._images = images
        elif self._options.cache == "disk":
            sources = [self._source(index) for index in self._firsts]
            folder = self._options.cache_folder / "-".join(self._kind())
            self._images = keep_images(folder, sources, self._size, self._read, self._channels)

    def _kind(self) -> list[str]:
        """Name what the pixels of a kept image depend on, beside the image."""
        upright, white, channels, axes = self._options.decoding
        size = "x".join(dict.fromkeys(map(str, self._size)))  # a square is named by its side
        kind = [f"v{_LAYOUT}", f"{size}px", f"pillow{PIL.__version__}"]
        kind += ["upright"] * upright + [f"white{white}"] * (white is not None)
        return kind + [f"{channels}channels", axes] * (channels != COLORS)

    def _kept(self, index: int) -> Tensor:
        """Return the image of a sample as it is kept."""
        return self._images[int(self._rows[index])]

    def _source(self, index: int) -> ImageSource:
        return image_source(self._root, str(self._files[index]), self._options.opener)

    @abstractmethod
    def _read(self, source: ImageSource) -> Tensor:
        """Make of an image what is kept in a cache, uint8 (3, H, W) or float32 (C, H, W)."""

    def _batch(self, indices: Sequence[int], images: Iterable[Tensor], size: Size) -> WSOLBatch:
        """Build the common entries of training and evaluation batches.

        Args:
            indices: B places in the list of images.
            images: Their pixels, (C, H, W) each, made one after the other.
            size: Height H and width W.
        """
        batch = torch.empty((len(indices), self._channels, *size))
        for target, image in zip(batch, images, strict=True):
            standardize_into(target, image, self._mean, self._std)
        index = torch.tensor(indices, dtype=torch.int64)
        found: WSOLBatch = {
            "image": batch,
            "label": self._labels[index],
            "image_id": self._ids[index.numpy()].tolist(),
            "index": index,
        }
        if self._values is not None:
            found["values"] = self._values[index]
        if self._presence is not None:
            found["labels"] = self._presence[index]
        return found


class TrainDataset(ImageDataset):
    """Training images, randomly cropped and flipped.

    Args:
        metadata: The split; only ids and labels are used.
        root: Folder that ids are relative to.
        size: Side in pixels to which images are resized, or height and width.
        crop_size: Likewise of the random crop, at most as large.
        options: How images become batches.
        fast: Whether pixels need not be exact, see `read_window`.
    """

    def __init__(
        self,
        metadata: SplitMetadata,
        root: Path,
        *,
        size: int | Sequence[int],
        crop_size: int | Sequence[int],
        options: ImageOptions,
        fast: bool = False,
    ) -> None:
        super().__init__(metadata, root, Size.of(size), options)
        self._crop_size, self._fast = Size.of(crop_size), fast

    def __getitems__(self, items: Sequence[tuple[int, int] | int]) -> WSOLBatch:
        """Load a batch; ``items`` are (index, draw) pairs as ``TrainSampler`` yields them.

        A mere index, which Lightning's ``overfit_batches`` brings, stands for the draw 0.

        Raises:
            DataError: If an image does not decode.
        """
        drawn = self._drawn(items)
        images = (self._crop(index, window) for index, window in drawn)
        batch = self._batch([index for index, _ in drawn], images, self._crop_size)
        draw_classes(batch, items)
        return batch

    def _drawn(self, items: Sequence[tuple[int, int] | int]) -> list[tuple[int, Window]]:
        """Place the window of each item in its image."""
        pairs = [item if isinstance(item, tuple) else (item, 0) for item in items]
        return [(i, drawn_window(draw, self._size, self._crop_size)) for i, draw in pairs]

    def _crop(self, index: int, window: Window) -> Tensor:
        if self._images is not None:
            return cut_window(self._kept(index), window)
        return self._read(self._source(index), window)

    def _read(self, source: ImageSource, window: Window | None = None) -> Tensor:
        window = window or Window(0, 0, self._size.width, self._size.height)
        return read_window(source, self._size, window, self._options.decoding, self._fast)

    def _kind(self) -> list[str]:
        return super()._kind() + [f"fast-opencv{cv2.__version__}"] * self._fast


def draw_classes(batch: WSOLBatch, items: Sequence[tuple[int, int] | int]) -> None:
    """Set the class or value of each image with several, if it has a draw, to one of them."""
    if "labels" in batch:
        choices = batch["labels"]
    elif "values" in batch:
        choices = torch.ones_like(batch["values"])
    else:
        return
    for row, item in enumerate(items):
        if isinstance(item, tuple):
            present = choices[row].nonzero()[:, 0]
            if len(present):
                mixed = item[1] * _MULTIPLIER % 2**64 >> 32  # the crop uses the bits as they are
                batch["label"][row] = present[mixed % len(present)]


def as_is(batch: WSOLBatch) -> WSOLBatch:
    """Return the batch as it is: the ``collate_fn`` for data sets that give whole batches."""
    return batch
