"""Reading of the pixels of any image: files of all kinds, PIL images, arrays, tensors."""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from learned_saliency.pipeline.cli import first_sentence

Pixels = NDArray[np.uint8]  # (H, W, 3), red first

MAX_PIXELS = 100_000_000
_ORIENTATION = 0x0112  # EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RUN_PROGRAMS = {"EPS"}  # Pillow hands these to Ghostscript
_OPENING = threading.Lock()


class ImageError(ValueError):
    """Error of an object that is no image, or no usable image; the message tells why."""


def read_pixels(path: Path, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image file as it is meant to be seen.

    The EXIF orientation is applied. Transparent pixels become white. 16-bit gray loses its lower
    bits; float gray is taken as 0..1 or 0..255 if it lies within, and otherwise stretched from its
    minimum to its maximum. The first of several frames counts.

    Args:
        path: The file.
        max_pixels: Largest accepted number of pixels, at least 1.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ImageError: If the file is no image, is damaged or too large.
    """
    with _opened(path, max_pixels) as image:
        return pixels_of_picture(image)


def pixel_count(path: Path, max_pixels: int = MAX_PIXELS) -> int:
    """Read the number of pixels of an image file from its header alone; see `read_pixels`."""
    with _opened(path, max_pixels) as image:
        return image.width * image.height


def pixels_of(image: Any) -> Pixels:
    """Read the pixels of an image in any of its forms.

    Args:
        image: A path, a PIL image, an array (H, W), (H, W, 3) or (H, W, 4, with alpha last), or a
            tensor (3, H, W) or (1, H, W). Integers are 8-bit, in arrays also 16-bit; floats lie in
            [0, 1] and are rounded to 8 bits. Nothing is normalized.

    Returns:
        uint8 (H, W, 3); see `read_pixels` for orientation and transparency.

    Raises:
        TypeError: If ``image`` is of another type.
        ValueError: If shape or values do not fit; for a file, an `ImageError`.
    """
    if isinstance(image, str | os.PathLike):
        try:
            return read_pixels(Path(image).expanduser())
        except ImageError as error:
            raise ImageError(f"{os.fspath(image)}: {error}.") from None
    if isinstance(image, Image.Image):
        return pixels_of_picture(image)
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
    return pixels_of_picture(Image.fromarray(_eight_bits(image)))


def pixels_of_picture(image: Image.Image) -> Pixels:
    """Read the pixels of a PIL image; see `read_pixels`."""
    image.load()
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode == "I":
        values = np.asarray(image)
        shift = 8 if values.max() > 255 else 0
        image = Image.fromarray((values >> shift).clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(_stretched(np.asarray(image)))
    elif "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "La", "PA"):
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    return np.array(image if turn is None else image.transpose(turn))


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image file and read its header; turn all errors into an `ImageError`."""
    try:
        _check_file(path)
        with _open(path) as image:
            pixels = image.width * image.height
            if pixels > max_pixels:
                raise ImageError(
                    f"{image.width} x {image.height} are {pixels / 1e6:.0f} megapixels, more than "
                    f"the {max_pixels / 1e6:g} that are allowed"
                )
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("no image of a known kind") from None
    except OSError as error:
        raise ImageError(error.strerror or first_sentence(error)) from None
    except Exception as error:  # decoders raise anything on a damaged file
        raise ImageError(f"damaged ({first_sentence(error)})") from None


def _check_file(path: Path) -> None:
    """Refuse files on which opening would hang, or which it would misunderstand."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("no regular file")
    if not found.st_size:
        raise ImageError("the file is empty")


def _open(path: Path) -> Image.Image:
    """Read the header, with Pillow's own global limit of pixels off: ``max_pixels`` counts."""
    Image.init()
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=sorted({*Image.OPEN} - _RUN_PROGRAMS))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8; 1 if it is missing or the EXIF data are damaged."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1


def _stretched(values: NDArray[np.floating]) -> Pixels:
    """Turn floats of unknown range into gray levels."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ImageError("it has values that are no finite numbers")
    if low < 0 or high > 255:
        values = (values - low) / ((high - low) or 1.0)
        high = 1.0
    return np.rint(values * 255 if high <= 1 else values).astype(np.uint8)


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
