"""Check that an exported file and its checkpoint give the same results, on real images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F

from learned_saliency.datamodules import (
    DataError,
    Decoding,
    ImageSource,
    image_opener,
    image_source,
    leaves,
    read_split,
    read_square,
    standardize,
)
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.export.formats import Runner
from learned_saliency.pipeline.export.graph import OUTPUTS
from learned_saliency.trainers import SaliencyModule

BATCH_SIZES = (1, 5)
_IMAGES = 10
_CLASSES = 8  # number of classes whose maps are compared
_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


class Images(NamedTuple):
    """Images that a file is tried on.

    Attributes:
        pixels: uint8 of shape (N, 3, S, S).
        source: Origin of the images, in words.
    """

    pixels: Tensor
    source: str


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
        folder = Path(folder).expanduser()
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
        if not paths:
            raise UserError(f"verify_images={folder}: there are no images (JPEG, PNG) in it.")
        return _read(paths, data, str(folder))
    for split in ("test", "val") if "metadata" in data else ():
        try:
            metadata = read_split(Path(data.metadata).expanduser() / split, localization=False)
        except DataError:
            continue
        root = Path(data.root).expanduser()
        if any(leaves(name, root) for name in metadata.image_ids):
            continue
        reader = None if data.get("reader") is None else instantiate(data.reader)
        opener = image_opener(reader, root)
        images = [image_source(root, name, opener) for name in metadata.image_ids]
        if root.is_dir() and (opener or all(path.is_file() for path in _some(images))):
            return _read(images, data, f"{split} of {data.name}")
    known = data.get("root")
    missing = f"the images of {known} are not there" if known else "no images are named"
    warnings.warn(
        f"{missing}: the file is tried on random colors; verify_images=FOLDER tries it on "
        "photographs.",
        stacklevel=2,
    )
    return Images(_random_images(data.crop_size), "random colors")


def _some(paths: list[ImageSource]) -> list[ImageSource]:
    """Pick at most as many paths as are tried, from all over the list."""
    return paths[:: -(-len(paths) // _IMAGES)]


def _read(paths: list[ImageSource], data: DictConfig, source: str) -> Images:
    options = data.crop_size, data.center_crop, Decoding.of(data)
    pixels = [read_square(path, *options) for path in _some(paths)]
    copies = -(-max(BATCH_SIZES) // len(pixels))  # repeats fewer images than a batch has
    return Images(torch.stack(pixels * copies), source)


def _random_images(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(_IMAGES, 3, 7, 7, generator=generator)
    return (F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1) * 255).byte()


@torch.no_grad()
def differences(
    run: Runner, module: SaliencyModule, maps: str | None, pixels: Tensor
) -> dict[str, float]:
    """Compare a file with the module that it was made from, in batches of 1 and of 5 images.

    The module sees images as evaluation prepares them. Every image is explained with another class.

    Args:
        run: Runner of the file.
        module: The module of the checkpoint, in evaluation mode.
        maps: See `ExportedModel`.
        pixels: uint8 of shape (N, 3, S, S).

    Returns:
        The largest difference per output; for logits relative to the largest logit, if above 1.
    """
    worst = torch.zeros(len(OUTPUTS))
    for batch_size in BATCH_SIZES:
        for first in range(0, len(pixels), batch_size):
            batch = pixels[first : first + batch_size]
            images = standardize(batch, module.mean.flatten(), module.std.flatten())
            logits = module.explain(images, None).logits
            classes = logits.shape[1]
            labels = (logits.argmax(1) + first + torch.arange(len(batch))) % classes
            found = run(batch / 255, *([labels] if maps == "label" else []))
            saliency = found["saliency"]
            if maps == "all":
                compared = torch.linspace(0, classes - 1, min(classes, _CLASSES)).long()
                each = [module.explain(images, c.expand(len(batch))).saliency for c in compared]
                expected, saliency = torch.stack(each, 1), saliency[:, compared]
            else:
                expected = module.explain(images, labels if maps == "label" else None).saliency
            unit = logits.abs().amax().clamp_min(1)
            pairs = [
                (found["probabilities"], logits.softmax(1)),
                (found["logits"] / unit, logits / unit),
                (saliency, expected),
            ]
            worst = torch.maximum(worst, torch.stack([_largest(*pair) for pair in pairs]))
    return dict(zip(OUTPUTS, worst.tolist(), strict=True))


def _largest(ours: Tensor, theirs: Tensor) -> Tensor:
    if ours.shape != theirs.shape:
        raise ValueError(f"expected {tuple(theirs.shape)}, got {tuple(ours.shape)}")
    return (ours - theirs).abs().amax()
