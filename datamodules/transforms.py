"""Transforms of images to tensors: resizing, cropping; likewise for boxes."""

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from learned_saliency.datamodules.decoding import AS_STORED, Decoding
from learned_saliency.datamodules.opening import (
    ImageError,
    ImageSource,
    MissingImageError,
    complaint,
)
from learned_saliency.datamodules.planes import read_image
from learned_saliency.datamodules.resampling import Pixels, Window, resize_part, resize_window
from learned_saliency.datamodules.textfile import DataError

# A longer strip is not resized as a whole where only its middle is wanted; the result differs by
# rounding, one level of 255 at most.
_MOST_PIXELS = 1 << 26
_LEAST_SIDE = 0.7  # share of the wanted side that JPEG data decoded for speed have to have


def read_square(
    path: ImageSource,
    size: int,
    center_crop: bool | int = False,
    decoding: Decoding = AS_STORED,
    fast: bool = False,
) -> Tensor:
    """Decode an image and resize it to a square, without regard to its aspect ratio.

    Args:
        path: The image, of any kind, see `read_image`.
        size: Side S of the square in pixels.
        center_crop: Keep the aspect ratio instead: the shorter edge becomes S pixels long, and the
            square in the middle is taken. An integer R, at least S: the shorter edge becomes R
            pixels long, and all is rounded as in torchvision's ``Resize(R)`` and ``CenterCrop(S)``.
        decoding: What the data set declares about its files.
        fast: Whether the image need not be exact: JPEG data are decoded at a scale at which no side
            is shorter than 0.7 S, if they are large enough for that.

    Returns:
        uint8 of shape (3, S, S), resized bilinearly with antialiasing as Pillow does it; of other
        numbers C of channels float32 of shape (C, S, S) in 0..255.

    Raises:
        DataError: If the file is missing or does not decode.
    """
    least_side = math.ceil(_LEAST_SIDE * size) if fast else None
    return to_square(_read(path, decoding, least_side), size, center_crop)


def read_window(
    path: ImageSource,
    size: int,
    window: Window,
    decoding: Decoding = AS_STORED,
    fast: bool = False,
) -> Tensor:
    """Decode an image, resize it to a square and cut a window out of it.

    Args:
        path: The image, of any kind, see `read_image`.
        size: Side R of the square in pixels.
        window: The part that is wanted.
        decoding: What the data set declares about its files.
        fast: Whether the image need not be exact: JPEG data are decoded at a scale at which no side
            is shorter than 0.7 R, if they are large enough for that, and resized without
            antialiasing, or by the mean of pixels where they are at least twice as large as R.

    Returns:
        uint8 of shape (3, window.height, window.width); without ``fast`` the same part of the
        square that `read_square` gives.

    Raises:
        DataError: If the file is missing or does not decode.
    """
    if not fast:
        return _planes(resize_window(_read(path, decoding), (size, size), window))
    pixels = _read(path, decoding, math.ceil(_LEAST_SIDE * size))
    shrinks = min(pixels.shape[:2]) >= 2 * size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    left, top, width, height, mirrored = window
    part = cv2.resize(pixels, (size, size), interpolation=method)
    part = part[top : top + height, left : left + width]
    return _planes(cv2.flip(part, 1) if mirrored else part)


def _read(path: ImageSource, decoding: Decoding, least_side: int | None = None) -> Pixels:
    """Decode an image; turn what is wrong with it into a `DataError`."""
    try:
        return read_image(path, decoding=decoding, least_side=least_side)
    except ImageError as error:
        raise unreadable(path, "image", error) from None


def _planes(pixels: Pixels) -> Tensor:
    """Put the channels first."""
    if pixels.dtype != np.uint8:
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, list(planes))
    return torch.from_numpy(planes)


def unreadable(path: ImageSource, what: str, error: ImageError) -> DataError:
    """Make the error of an image that is missing or, for the reason in ``error``, unusable."""
    if isinstance(error, MissingImageError):
        return DataError(f"{path}: the {what} is missing; restore it.")
    return DataError(f"{path}: the {what} {complaint(error)}.")


def to_square(pixels: Pixels, size: int, center_crop: bool | int = False) -> Tensor:
    """Resize a decoded image to a square; see `read_square`.

    Args:
        pixels: uint8 (H, W, 3), or float32 (H, W, C).
        size: Side S of the square in pixels.
        center_crop: See `read_square`.

    Returns:
        The same type, of shape (3, S, S) or (C, S, S).
    """
    height, width = pixels.shape[:2]
    edges, (left, top) = placement(width, height, size, center_crop)
    if edges[0] * edges[1] <= _MOST_PIXELS:
        return _planes(resize_window(pixels, edges, Window(left, top, size, size)))
    x, y = width / edges[0], height / edges[1]
    right = min((left + size) * x, width)  # despite rounding
    part = (left * x, top * y, right, min((top + size) * y, height))
    return _planes(resize_part(pixels, (size, size), part))


def scale_boxes(boxes: Tensor, sizes: Tensor, size: int, center_crop: bool | int = False) -> Tensor:
    """Scale boxes with their images to a square, truncating as the benchmark does.

    Args:
        boxes: x0 y0 x1 y1 in pixels of the original images, int64 of shape (M, 4), 0 or more.
        sizes: Width and height of each box's image in pixels, int64 of shape (M, 2).
        size: Side S of the square in pixels.
        center_crop: See `read_square`.

    Returns:
        int64 of shape (M, 4): int(coordinate * S / width or height), in [0, S]. With
        ``center_crop`` the edges have lengths of their own instead of S, and the corner of the
        square is subtracted: coordinates that the crop cuts off lie below 0 or above S.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or sizes.shape != (len(boxes), 2):
        raise ValueError(
            f"expected boxes (M, 4) and sizes (M, 2), got {tuple(boxes.shape)} and"
            f" {tuple(sizes.shape)}"
        )
    if not center_crop:
        return boxes * size // sizes.repeat(1, 2)
    placements = [placement(*edges, size, center_crop) for edges in sizes.tolist()]
    edges, corners = torch.tensor(placements, dtype=torch.int64).view(-1, 2, 2).unbind(dim=1)
    return boxes * edges.repeat(1, 2) // sizes.repeat(1, 2) - corners.repeat(1, 2)


def placement(
    width: int, height: int, size: int, center_crop: bool | int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Compute width and height to resize to, and left and top of the square in the result.

    See `read_square` for the arguments.
    """
    if not center_crop:
        return (size, size), (0, 0)
    short = min(width, height)
    if isinstance(center_crop, bool):
        edges = size * width // short, size * height // short
        return edges, ((edges[0] - size) // 2, (edges[1] - size) // 2)
    edges = center_crop * width // short, center_crop * height // short
    return edges, (round((edges[0] - size) / 2), round((edges[1] - size) / 2))


def center_crop_of(options: Mapping[str, Any]) -> bool | int:
    """Read ``center_crop`` of `read_square` from the options of a data set.

    Args:
        options: Its ``center_crop`` and, where it has one, ``evaluation_resize``.
    """
    return options.get("evaluation_resize") or bool(options["center_crop"])


def drawn_window(draw: int, size: int, crop_size: int) -> Window:
    """Place a crop at random and flip it in half of the cases.

    Args:
        draw: Random integer in [0, 2^63). The lowest bit decides about the flip, the 31 bits above
            it place the crop vertically, the upper 31 bits horizontally.
        size: Side R of the square image in pixels.
        crop_size: Side S of the crop in pixels.

    Raises:
        ValueError: If the image is smaller than the crop.
    """
    places = size - crop_size + 1
    if places < 1:
        raise ValueError(f"expected a crop of at most {size} pixels, got {crop_size}")
    top, left = (draw >> 1 & 0x7FFFFFFF) % places, (draw >> 32) % places
    return Window(left, top, crop_size, crop_size, mirrored=bool(draw & 1))


def cut_window(image: Tensor, window: Window) -> Tensor:
    """Cut a window out of an image (..., R, R); a view, unless it is mirrored."""
    left, top, width, height, mirrored = window
    part = image[..., top : top + height, left : left + width]
    return part.flip(-1) if mirrored else part


def cut_boxes(boxes: Tensor, window: Window) -> Tensor:
    """Move boxes of an image into a window that is cut out of it.

    Args:
        boxes: x0 y0 x1 y1 in pixels of the image, the last ones inside the box, int64 (n, 4).
        window: The part that is cut out.

    Returns:
        The boxes in pixels of the window, int64 (n, 4), turned left to right where it is mirrored.
        Coordinates outside of the window lie below 0 or above its edges.
    """
    left, top, width, _, mirrored = window
    x0, y0, x1, y1 = (boxes - boxes.new_tensor([left, top, left, top])).unbind(1)
    if mirrored:
        x0, x1 = width - 1 - x1, width - 1 - x0
    return torch.stack([x0, y0, x1, y1], dim=1)


def standardize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Turn images into the networks' input.

    Args:
        images: Levels 0..255, uint8 or float32 of shape (B, C, H, W).
        mean: Mean of each channel, shape (C,), for values in [0, 1].
        std: Standard deviation of each channel, shape (C,), positive.

    Returns:
        (images / 255 - mean) / std in the type of ``mean``, shape (B, C, H, W).
    """
    standardized = torch.empty(images.shape, dtype=mean.dtype, device=images.device)
    return standardize_into(standardized, images, *scaled(mean, std))


def scaled(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Bring mean and std of the channels, each (C,), to levels 0..255, each (C, 1, 1)."""
    return 255 * mean[:, None, None], 255 * std[:, None, None]


def standardize_into(target: Tensor, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Write into ``target`` what `standardize` gives; ``mean`` and ``std`` come from `scaled`."""
    return target.copy_(images).sub_(mean).div_(std)
