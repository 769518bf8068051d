"""Transforms of images to tensors: resizing, cropping; likewise for boxes."""

import math
from collections.abc import Mapping, Sequence
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
from learned_saliency.datamodules.sizes import Size
from learned_saliency.datamodules.textfile import DataError

# A longer strip is not resized as a whole where only its middle is wanted; the result differs by
# rounding, one level of 255 at most.
_MOST_PIXELS = 1 << 26
_LEAST_SIDE = 0.7  # share of the wanted side that JPEG data decoded for speed have to have


def read_resized(
    path: ImageSource,
    size: int | Sequence[int],
    center_crop: bool | int = False,
    decoding: Decoding = AS_STORED,
    fast: bool = False,
) -> Tensor:
    """Decode an image and resize it to a size, without regard to its aspect ratio.

    Args:
        path: The image, of any kind, see `read_image`.
        size: Side of a square in pixels, or height H and width W.
        center_crop: Keep the aspect ratio instead: the image becomes as small as both edges allow
            that still cover H x W pixels, one of them exactly, and these are taken out of the
            middle; for a square the shorter edge becomes its side. An integer R, at least H and W:
            the shorter edge becomes R pixels long, and all is rounded as in torchvision's
            ``Resize(R)`` and ``CenterCrop((H, W))``.
        decoding: What the data set declares about its files.
        fast: Whether the image need not be exact: JPEG data are decoded at a scale at which height
            and width are not below 0.7 H and 0.7 W, if they are large enough for that.

    Returns:
        uint8 of shape (3, H, W), resized bilinearly with antialiasing as Pillow does it; of other
        numbers C of channels float32 of shape (C, H, W) in 0..255.

    Raises:
        DataError: If the file is missing or does not decode.
    """
    size = Size.of(size)
    return resize_pixels(_read(path, decoding, _least(size) if fast else None), size, center_crop)


def read_window(
    path: ImageSource,
    size: int | Sequence[int],
    window: Window,
    decoding: Decoding = AS_STORED,
    fast: bool = False,
) -> Tensor:
    """Decode an image, resize it without regard to its aspect ratio and cut a window out of it.

    Args:
        path: The image, of any kind, see `read_image`.
        size: Side of a square in pixels, or height and width.
        window: The part that is wanted.
        decoding: What the data set declares about its files.
        fast: Whether the image need not be exact: JPEG data are decoded at a scale at which no side
            is shorter than 0.7 times the wanted one, if they are large enough for that, and resized
            without antialiasing, or by the mean of pixels where both sides are at least twice as
            large as wanted.

    Returns:
        uint8 of shape (3, window.height, window.width); without ``fast`` the same part of what
        `read_resized` gives.

    Raises:
        DataError: If the file is missing or does not decode.
    """
    size = Size.of(size)
    edges = size.width, size.height
    if not fast:
        return _planes(resize_window(_read(path, decoding), edges, window))
    pixels = _read(path, decoding, _least(size))
    shrinks = pixels.shape[0] >= 2 * size.height and pixels.shape[1] >= 2 * size.width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    left, top, width, height, mirrored = window
    part = cv2.resize(pixels, edges, interpolation=method)
    part = part[top : top + height, left : left + width]
    return _planes(cv2.flip(part, 1) if mirrored else part)


def _least(size: Size) -> Size:
    """Compute the least height and width of JPEG data that are decoded for speed."""
    return Size(*(math.ceil(_LEAST_SIDE * side) for side in size))


def _read(path: ImageSource, decoding: Decoding, least: Size | None = None) -> Pixels:
    """Decode an image; turn what is wrong with it into a `DataError`."""
    try:
        return read_image(path, decoding=decoding, least=least)
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


def resize_pixels(
    pixels: Pixels, size: int | Sequence[int], center_crop: bool | int = False
) -> Tensor:
    """Resize a decoded image; see `read_resized`.

    Args:
        pixels: uint8 of any height and width, (..., ..., 3), or float32 (..., ..., C).
        size: Side of a square in pixels, or height H and width W.
        center_crop: See `read_resized`.

    Returns:
        The same type, of shape (3, H, W) or (C, H, W).
    """
    size = Size.of(size)
    height, width = pixels.shape[:2]
    edges, (left, top) = placement(width, height, size, center_crop)
    if edges[0] * edges[1] <= _MOST_PIXELS:
        return _planes(resize_window(pixels, edges, Window(left, top, size.width, size.height)))
    x, y = width / edges[0], height / edges[1]
    right = min((left + size.width) * x, width)  # despite rounding
    part = (left * x, top * y, right, min((top + size.height) * y, height))
    return _planes(resize_part(pixels, (size.width, size.height), part))


def scale_boxes(
    boxes: Tensor, sizes: Tensor, size: int | Sequence[int], center_crop: bool | int = False
) -> Tensor:
    """Scale boxes with their images, truncating as the benchmark does.

    Args:
        boxes: x0 y0 x1 y1 in pixels of the original images, int64 of shape (M, 4), 0 or more.
        sizes: Width and height of each box's image in pixels, int64 of shape (M, 2).
        size: Side of a square in pixels, or height H and width W.
        center_crop: See `read_resized`.

    Returns:
        int64 of shape (M, 4): int(x * W / width) in [0, W] and int(y * H / height) in [0, H]. With
        ``center_crop`` the edges have lengths of their own instead, and the corner of the part that
        is taken is subtracted: coordinates that the crop cuts off lie below 0 or above W and H.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or sizes.shape != (len(boxes), 2):
        raise ValueError(
            f"expected boxes (M, 4) and sizes (M, 2), got {tuple(boxes.shape)} and"
            f" {tuple(sizes.shape)}"
        )
    size = Size.of(size)
    if not center_crop:
        return boxes * boxes.new_tensor([size.width, size.height] * 2) // sizes.repeat(1, 2)
    placements = [placement(*edges, size, center_crop) for edges in sizes.tolist()]
    edges, corners = torch.tensor(placements, dtype=torch.int64).view(-1, 2, 2).unbind(dim=1)
    return boxes * edges.repeat(1, 2) // sizes.repeat(1, 2) - corners.repeat(1, 2)


def placement(
    width: int, height: int, size: int | Sequence[int], center_crop: bool | int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Compute width and height to resize to, and left and top in the result of what is taken.

    See `read_resized` for the arguments.
    """
    size = Size.of(size)
    if not center_crop:
        return (size.width, size.height), (0, 0)
    if isinstance(center_crop, bool):
        if width * size.height < height * size.width:  # the width is the one that is just enough
            edges = size.width, size.width * height // width
        else:
            edges = size.height * width // height, size.height
        return edges, ((edges[0] - size.width) // 2, (edges[1] - size.height) // 2)
    short = min(width, height)
    edges = center_crop * width // short, center_crop * height // short
    return edges, (round((edges[0] - size.width) / 2), round((edges[1] - size.height) / 2))


def center_crop_of(options: Mapping[str, Any]) -> bool | int:
    """Read ``center_crop`` of `read_resized` from the options of a data set.

    Args:
        options: Its ``center_crop`` and, where it has one, ``evaluation_resize``.
    """
    return options.get("evaluation_resize") or bool(options["center_crop"])


def drawn_window(draw: int, size: int | Sequence[int], crop_size: int | Sequence[int]) -> Window:
    """Place a crop at random and flip it in half of the cases.

    Args:
        draw: Random integer in [0, 2^63). The lowest bit decides about the flip, the 31 bits above
            it place the crop vertically, the upper 31 bits horizontally.
        size: Side of the square image in pixels, or its height and width.
        crop_size: Likewise of the crop.

    Raises:
        ValueError: If the image is smaller than the crop.
    """
    size, crop = Size.of(size), Size.of(crop_size)
    down, across = size.height - crop.height + 1, size.width - crop.width + 1
    if min(down, across) < 1:
        raise ValueError(f"expected a crop of at most {size} pixels, got {crop}")
    top, left = (draw >> 1 & 0x7FFFFFFF) % down, (draw >> 32) % across
    return Window(left, top, crop.width, crop.height, mirrored=bool(draw & 1))


def cut_window(image: Tensor, window: Window) -> Tensor:
    """Cut a window out of an image (..., H, W); a view, unless it is mirrored."""
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
