"""Transforms of images to tensors: resizing, cropping; likewise for boxes."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learned_saliency.datamodules.decoding import AS_STORED, Decoding, read_picture
from learned_saliency.datamodules.opening import ImageError, ImageSource, MissingImageError
from learned_saliency.datamodules.textfile import DataError

# A longer strip is not resized as a whole where only its middle is wanted; the result differs by
# rounding, one level of 255 at most.
_MOST_PIXELS = 1 << 26


def read_square(
    path: ImageSource, size: int, center_crop: bool = False, decoding: Decoding = AS_STORED
) -> Tensor:
    """Decode an image and resize it to a square, without regard to its aspect ratio.

    Args:
        path: The image, of any kind, see `read_picture`.
        size: Side S of the square in pixels.
        center_crop: Keep the aspect ratio instead: the shorter edge becomes S pixels long, and the
            square in the middle is taken.
        decoding: What the data set declares about its files.

    Returns:
        uint8 of shape (3, S, S), resized bilinearly with antialiasing as Pillow does it.

    Raises:
        DataError: If the file is missing or does not decode.
    """
    try:
        picture = read_picture(path, decoding=decoding)
    except ImageError as error:
        raise unreadable(path, "image", error) from None
    return to_square(picture, size, center_crop)


def unreadable(path: ImageSource, what: str, error: ImageError) -> DataError:
    """Make the error of an image that is missing or, for the reason in ``error``, unusable."""
    if isinstance(error, MissingImageError):
        return DataError(f"{path}: the {what} is missing; restore it.")
    return DataError(f"{path}: the {what} does not decode ({error}); replace it.")


def to_square(image: Image.Image, size: int, center_crop: bool = False) -> Tensor:
    """Resize a decoded image to a square; see `read_square`.

    Args:
        image: The image, in mode RGB.
        size: Side S of the square in pixels.
        center_crop: See `read_square`.

    Returns:
        uint8 of shape (3, S, S).
    """
    edges, (left, top) = placement(image.width, image.height, size, center_crop)
    if edges[0] * edges[1] <= _MOST_PIXELS:
        square = image.resize(edges, Image.Resampling.BILINEAR)
        square = square.crop((left, top, left + size, top + size))
    else:
        x, y = image.width / edges[0], image.height / edges[1]
        right = min((left + size) * x, image.width)  # despite rounding
        part = (left * x, top * y, right, min((top + size) * y, image.height))
        square = image.resize((size, size), Image.Resampling.BILINEAR, part)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def scale_boxes(boxes: Tensor, sizes: Tensor, size: int, center_crop: bool = False) -> Tensor:
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
    width: int, height: int, size: int, center_crop: bool
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Compute width and height to resize to, and left and top of the square in the result."""
    if not center_crop:
        return (size, size), (0, 0)
    short = min(width, height)
    edges = size * width // short, size * height // short
    return edges, ((edges[0] - size) // 2, (edges[1] - size) // 2)


def random_crop_flip(images: Tensor, rows: Tensor, draws: Tensor, size: int) -> Tensor:
    """Select images, crop each at its own random place and flip half of them.

    Args:
        images: Any type, shape (N, C, R, R) with R >= ``size``; a whole data set or a batch.
        rows: Indices of the images to take, int64 of shape (B,), in [0, N).
        draws: Random integers in [0, 2^63), int64 of shape (B,). The lowest bit decides about the
            flip, the 31 bits above it place the crop vertically, the upper 31 bits horizontally.
        size: Side S of the crop in pixels.

    Returns:
        Copies of shape (B, C, S, S), of the type of ``images``.

    Raises:
        ValueError: If an image is smaller than the crop or the shapes do not fit.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < size or rows.shape != draws.shape:
        raise ValueError(
            f"expected images (N, C, R, R) with R >= {size} and as many rows as draws, got"
            f" {tuple(images.shape)}, {tuple(rows.shape)} and {tuple(draws.shape)}"
        )
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # (N, C, R-S+1, R-S+1, S, S), a view
    top = (draws >> 1 & 0x7FFFFFFF) % windows.shape[2]
    left = (draws >> 32) % windows.shape[3]
    crops = windows[rows, :, top, left]
    flipped = (draws & 1).nonzero()[:, 0]
    crops[flipped] = crops[flipped].flip(-1)
    return crops


def standardize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Turn 8-bit images into the networks' input.

    Args:
        images: uint8 of shape (B, 3, H, W).
        mean: Mean of each channel, shape (3,), for values in [0, 1].
        std: Standard deviation of each channel, shape (3,), positive.

    Returns:
        (images / 255 - mean) / std in the type of ``mean``, shape (B, 3, H, W).
    """
    scaled = images.to(mean.dtype).sub_(255 * mean[:, None, None])
    return scaled.div_(255 * std[:, None, None])
