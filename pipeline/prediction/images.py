"""Pixels of an image in any form that Python knows: files, PIL images, arrays, tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from learned_saliency.datamodules import (
    COLORS,
    Decoding,
    ImageError,
    Pixels,
    levels,
    planes_of,
    read_image,
    to_rgb,
)

AS_SEEN = Decoding(exif_orientation=True)  # what a person's own photographs are read by


def pixels_of(image: Any, decoding: Decoding = AS_SEEN) -> Pixels:
    """Read the pixels of an image in any of its forms.

    Args:
        image: A path, a PIL image, an array (H, W), (H, W, 3) or (H, W, 4, with alpha last), or a
            tensor (3, H, W) or (1, H, W). Integers are 8-bit, in arrays also 16-bit; floats lie in
            [0, 1] and are rounded to 8 bits. Nothing is normalized.
        decoding: How files and PIL images are read.

    With another number C of channels than 3 in ``decoding`` an array has the shape (H, W, C), or
    (H, W) of one, and a tensor (C, H, W); values keep their depth, see `read_image`.

    Returns:
        uint8 (H, W, 3), see `read_picture` for transparency; or float32 (H, W, C) in 0..255.

    Raises:
        TypeError: If ``image`` is of another type.
        ValueError: If shape or values do not fit; for a file, an `ImageError`.
    """
    if isinstance(image, str | os.PathLike):
        try:
            return read_image(Path(image).expanduser(), decoding=decoding)
        except ImageError as error:
            raise ImageError(f"{os.fspath(image)}: {error}.") from None
    if decoding.channels != COLORS:
        return _planes(image, decoding)
    if isinstance(image, Image.Image):
        return np.array(to_rgb(image, decoding))
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise ValueError(f"expected a tensor (3, H, W) or (1, H, W), got {tuple(image.shape)}")
        image = image.detach().permute(1, 2, 0).cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
        return pixels_of(image.repeat(3, 2) if image.shape[2] == 1 else image)
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"expected a path, a PIL image, an array or a tensor, got {type(image).__name__}"
        )
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise ValueError(f"expected an array (H, W), (H, W, 3) or (H, W, 4), got {image.shape}")
    if not image.size:
        raise ValueError(f"expected an array with pixels, got shape {image.shape}")
    return np.array(to_rgb(Image.fromarray(_eight_bits(image))))


def _planes(image: Any, decoding: Decoding) -> NDArray[np.float32]:
    """Read the pixels of an image in memory that keeps its channels and its depth."""
    if isinstance(image, Image.Image):
        return planes_of(image, decoding)
    if not isinstance(image, Tensor | np.ndarray):
        raise TypeError(
            f"expected a path, a PIL image, an array or a tensor, got {type(image).__name__}"
        )
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
        image = np.moveaxis(image, 0, -1) if image.ndim == 3 else image
    values = image[..., None] if image.ndim == 2 else image
    if values.ndim != 3 or values.shape[2] != decoding.channels or not values.size:
        channels = decoding.channels
        raise ValueError(
            f"expected an array (H, W, {channels}) or a tensor ({channels}, H, W), got the shape "
            f"{tuple(image.shape)}, channels last"
        )
    return levels(values, decoding.max_value)


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    if not np.issubdtype(values.dtype, np.floating):
        raise TypeError(f"expected values of 8 or 16 unsigned bits or floats, got {values.dtype}")
    if not (values.min() >= 0 and values.max() <= 1):  # NaN neither
        raise ValueError(
            f"expected float values in [0, 1], got {values.min():.3g} to {values.max():.3g}: hand "
            "images over as they are, they are normalized here"
        )
    return np.rint(values * 255).astype(np.uint8)


def separated(images: Any) -> Iterable[Any]:
    """Turn one image into a list of itself, a batch into a list of its images."""
    if isinstance(images, Tensor | np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    single = isinstance(images, str | os.PathLike | Image.Image)
    return [images] if single else images
