"""Reader of masks: label images of any kind, in which everything but background is object."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from learned_saliency.datamodules.decoding import (
    ALPHA,
    AS_STORED,
    Decoding,
    decoded_deep,
    exif_orientation,
    has_deep_channels,
    load,
    turned,
    with_alpha,
)
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.opening import ImageError, ImageSource, image_source, opened
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.transforms import placement, unreadable

_MOST_EMPTY = 1000  # masks that are looked through for an object; usually the first has one


class MaskValues(NamedTuple):
    """Meaning of the values of mask files that are no plain masks: trimaps and shares of answers.

    Attributes:
        object: Values, 0 to 255, of pixels of the object.
        ignore: Values of pixels that count for nothing. All others are background.
    """

    object: range
    ignore: range = range(0)


def read_mask(
    masks: Sequence[ImageSource],
    ignores: Sequence[ImageSource],
    size: int | Sequence[int],
    center_crop: bool | int = False,
    decoding: Decoding = AS_STORED,
    values: MaskValues | None = None,
) -> Tensor:
    """Read the instances of an image as the benchmark's mask evaluation does.

    Each file is resized with OpenCV's nearest neighbor, whose source index is
    floor(i * source / target). The object is the union of the instances; where object and ignored
    region overlap, the object wins.

    Args:
        masks: Files of the instances; see `read_object` for which pixels belong to the object.
        ignores: Files of the ignored regions, likewise.
        size: Side of a square in pixels, or height H and width W.
        center_crop: See `read_resized`.
        decoding: What the data set declares about its files.
        values: What the data set declares about the values in ``masks``; None for plain masks.

    Returns:
        uint8 of shape (H, W): 0 background, 1 object, 255 ignore.

    Raises:
        DataError: If a file is missing or does not decode.
    """
    ignored, objects = [_read(path, decoding)[0] for path in ignores], []
    for path in masks:
        found, unsure = _read(path, decoding, values)
        objects.append(found)
        ignored += [] if unsure is None else [unsure]
    size = Size.of(size)
    target = np.zeros(size, np.uint8)
    for value, layers in ((255, ignored), (1, objects)):
        for layer in layers:
            mask = layer.astype(np.uint8)
            edges, (left, top) = placement(mask.shape[1], mask.shape[0], size, center_crop)
            resized = cv2.resize(mask, edges, interpolation=cv2.INTER_NEAREST)
            part = resized[top : top + size.height, left : left + size.width]
            target[part > 0] = value
    return torch.from_numpy(target)


def warn_of_empty_masks(
    metadata: SplitMetadata,
    root: Path,
    decoding: Decoding,
    values: MaskValues | None = None,
    opener: Callable[[str], bytes] | None = None,
) -> None:
    """Warn where no mask of a split has an object pixel, judging by its first masks.

    Args:
        metadata: A split with masks.
        root: Folder that mask paths are relative to.
        decoding: What the data set declares about its files.
        values: See `read_mask`.
        opener: Reads a mask's bytes by its path, where masks are no files.

    Raises:
        DataError: If a mask is missing or does not decode.
    """
    first = [path for paths in metadata.mask_paths for path in paths][:_MOST_EMPTY]
    paths = [image_source(root, path, opener) for path in first]
    if not any(_read(path, decoding, values)[0].any() for path in paths):
        warnings.warn(
            f"{metadata.mask_file}: no pixel of its {len(paths)} first masks is object, so that "
            "metrics of masks mean nothing; see docs/own-data.md for which pixels count.",
            stacklevel=2,
        )


def read_object(path: ImageSource, decoding: Decoding = AS_STORED) -> NDArray[np.bool_]:
    """Read which pixels of a mask are object: those that are not background, whatever their value.

    Background is what is transparent, where any pixel is. Elsewhere it is 0 in grayscale of any
    depth and black in colors. In a palette it is entry 0, unless that entry has a color and another
    one that occurs is black: then black is the background.

    Args:
        path: The file; the first of several frames counts.
        decoding: See `read_mask`; its ``max_value`` is not needed.

    Returns:
        bool (H, W).

    Raises:
        ImageError: If the file is missing, no image, damaged or too large.
    """
    with opened(path) as image:
        if has_deep_channels(image):
            orientation = exif_orientation(image) if decoding.exif_orientation else 1
            deep = decoded_deep(path)
            values, alpha = deep[..., :3], deep[..., 3] if deep.shape[2] == 4 else None
        else:
            orientation = load(image, decoding)
            values, alpha = _values(image), _alpha(image)
        if alpha is not None and not alpha.all():
            found = alpha > 0
        else:
            found = values.any(-1) if values.ndim == 3 else values != 0
        return np.asarray(turned(Image.fromarray(found), orientation))


def read_values(path: ImageSource, decoding: Decoding = AS_STORED) -> NDArray[np.uint8]:
    """Read the values of a mask file of 8 bits as they are: gray, or the entries of a palette.

    Args:
        path: The file; the first of several frames counts.
        decoding: See `read_object`.

    Returns:
        uint8 (H, W).

    Raises:
        ImageError: If the file is missing, no image, damaged, too large or of more bits.
    """
    with opened(path) as image:
        if has_deep_channels(image) or image.mode[0] in "IF":  # I;16 among them
            raise ImageError("its values have more than 8 bits")
        orientation = load(image, decoding)
        gray = image if image.mode in ("L", "P") else image.convert("L")
        return np.asarray(turned(gray, orientation))


def read_parts(
    path: ImageSource, decoding: Decoding, values: MaskValues | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Read the object and, where the file itself tells it, the ignored region of a mask.

    Args:
        path: The file; the first of several frames counts.
        decoding: See `read_object`.
        values: See `read_mask`.

    Returns:
        bool (H, W) each; None for the region where ``values`` is None.

    Raises:
        ImageError: See `read_object` and `read_values`.
    """
    if values is None:
        return read_object(path, decoding), None
    found = read_values(path, decoding)
    return np.isin(found, values.object), np.isin(found, values.ignore)


def _read(
    path: ImageSource, decoding: Decoding, values: MaskValues | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Read the parts of a mask; turn what is wrong with it into a `DataError`."""
    try:
        return read_parts(path, decoding, values)
    except ImageError as error:
        raise unreadable(path, "mask", error) from None


def _alpha(image: Image.Image) -> NDArray[np.uint8] | None:
    if "transparency" not in image.info and image.mode not in ALPHA:
        return None
    return np.asarray(with_alpha(image).getchannel("A"))


def _values(image: Image.Image) -> NDArray[Any]:
    """Return values (H, W) or (H, W, 3) that are 0 where the background of a mask is."""
    if image.mode == "P":
        return _entries(image)
    if image.mode in ALPHA:
        return np.asarray(with_alpha(image))[..., :3]
    if image.mode not in ("1", "L", "I", "F", "RGB") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if image.mode == "F" and not np.isfinite(values).all():
        raise ImageError("it has values that are no finite numbers")
    return values


def _entries(image: Image.Image) -> NDArray[Any]:
    """Return values (H, W) that are 0 where a palette image has its background."""
    entries = np.asarray(image)
    colors = np.zeros((256, 3), np.uint8)
    given = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    colors[: len(given)] = given
    colored = colors.any(1)
    if not colored[0] or colored[entries].all():
        return entries
    return colored[entries]
