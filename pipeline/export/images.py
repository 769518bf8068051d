"""Images of a folder, or of the data set of a run, that an export is tried on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.datamodules import (
    COLORS,
    DataError,
    Decoding,
    ImageSource,
    Size,
    SplitMetadata,
    center_crop_of,
    find_classes,
    image_opener,
    image_source,
    leaves,
    match_classes,
    read_multilabel_split,
    read_resized,
    read_split,
)
from learned_saliency.pipeline.cli import UserError, check_image_folder
from learned_saliency.pipeline.runs import channels_of

BATCH_SIZES = (1, 5)
_IMAGES = 10
_DEEP_SUFFIXES = {".tif", ".tiff", ".npy"}
_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


class Images(NamedTuple):
    """Images that a file is tried on.

    Attributes:
        pixels: Levels 0..255, uint8 of shape (N, 3, H, W) or float32 (N, C, H, W).
        source: Origin of the images, in words.
    """

    pixels: Tensor
    source: str


class Files(NamedTuple):
    """Image files of one origin.

    Attributes:
        paths: One or more of them.
        source: Their origin, in words.
        labels: Their classes, those of the model, -1 where unknown, int64 (N,); None without any.
    """

    paths: list[ImageSource]
    source: str
    labels: NDArray[np.int64] | None = None

    def some(self, count: int) -> list[ImageSource]:
        """Pick at most ``count`` of them, from all over the list."""
        return self.paths[:: -(-len(self.paths) // count)]


def find_images(data: DictConfig, folder: str | Path | None) -> Images:
    """Read some images of a folder, or of a run's data set, from its test split if any.

    Where the data set is not on this machine, smooth random colors take the images' place, with a
    warning.

    Args:
        data: ``data`` of the run's configuration.
        folder: Folder of images; None for those of the data set.

    Raises:
        UserError: If the folder holds no images.
        DataError: If an image does not decode.
    """
    if folder is not None:
        return _read(files_of_folder("verify_images", folder, channels_of(data)), data)
    files = files_of_data(data)
    if files is not None:
        return _read(files, data)
    warnings.warn(
        f"{missing_images(data)}: the file is tried on random colors; verify_images=FOLDER tries "
        "it on photographs.",
        stacklevel=2,
    )
    return Images(_random_images(data), "random colors")


def files_of_folder(key: str, folder: str | Path, channels: int = COLORS) -> Files:
    """Find the images in a folder that a key of the configuration names, and in those below it.

    Raises:
        UserError: If there are none, or there is no such folder.
    """
    check_image_folder(key, folder)
    folder = Path(folder).expanduser()
    suffixes = _SUFFIXES if channels == COLORS else _SUFFIXES | _DEEP_SUFFIXES
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes)
    if not paths:
        kinds = "JPEG, PNG, WebP, BMP" + ("" if channels == COLORS else ", TIFF, .npy")
        raise UserError(f"{key}={folder}: there are no images ({kinds}) in it.")
    return Files(list(paths), str(folder))


def files_of_data(data: DictConfig) -> Files | None:
    """Find the images of a run's data set, of its test split if any; None where they are gone."""
    for split in ("test", "val") if "metadata" in data else ():
        try:
            metadata = _reader(data)(Path(data.metadata).expanduser() / split, localization=False)
        except DataError:
            continue
        root = Path(data.root).expanduser()
        if any(leaves(name, root) for name in metadata.image_ids):
            continue
        reader = None if data.get("reader") is None else instantiate(data.reader)
        opener = image_opener(reader, root)
        paths = [image_source(root, name, opener) for name in metadata.image_ids]
        files = Files(paths, f"{split} of {data.name}", _labels(metadata, data))
        if root.is_dir() and (opener or all(path.is_file() for path in files.some(_IMAGES))):
            return files
    return None


def missing_images(data: DictConfig) -> str:
    """Tell that there are no images of a data set, or that none is known, as a clause."""
    known = data.get("root")
    return f"the images of {known} are not there" if known else "no images are named"


def _reader(data: DictConfig) -> Callable[..., SplitMetadata]:
    """Return the reader of a split of the data set's task."""
    multilabel = data.get("task") == "multilabel"  # runs of before have no such key
    return read_multilabel_split if multilabel else read_split


def _labels(metadata: SplitMetadata, data: DictConfig) -> NDArray[np.int64] | None:
    """Translate the labels of a split to the classes of the model, if it has others.

    There are none where an image may have several.
    """
    if metadata.presence is not None:
        return None
    if data.get("known_classes") is None:
        return metadata.labels
    _, names = find_classes(
        metadata.folder.parent,
        {metadata.folder.name: metadata},
        num_classes=data.get("num_classes"),
        class_names=data.get("class_names"),
    )
    return match_classes(names, list(data.known_classes)).apply(metadata).labels


def _read(files: Files, data: DictConfig) -> Images:
    options = data.crop_size, center_crop_of(data), Decoding.of(data)
    pixels = [read_resized(path, *options) for path in files.some(_IMAGES)]
    copies = -(-max(BATCH_SIZES) // len(pixels))  # repeats fewer images than a batch has
    return Images(torch.stack(pixels * copies), files.source)


def _random_images(data: DictConfig) -> Tensor:
    generator, channels = torch.Generator().manual_seed(0), channels_of(data)
    coarse = torch.rand(_IMAGES, channels, 7, 7, generator=generator)
    levels = F.interpolate(coarse, Size.of(data.crop_size), mode="bicubic").clamp(0, 1) * 255
    return levels.byte() if channels == COLORS else levels
