"""The one reader of images: training, evaluation and prediction see the same pixels of a file."""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learned_saliency.datamodules.jpeg import SIGNATURE, JPEGHeader, decode_jpeg, jpeg_header
from learned_saliency.datamodules.opening import (
    MAX_PIXELS,
    ImageError,
    ImageSource,
    PackedImage,
    check_regular,
    opened,
)

Pixels = NDArray[np.uint8]  # (H, W, 3), red first
COLORS = 3  # channels of an image in colors, to which files of any kind are brought

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
_BACK = {6: 8, 8: 6}  # orientations that undo others; the remaining ones undo themselves
_TURNED_BY_PILLOW = ("TIFF",)  # formats that it turns by itself when it decodes
FIRST_LYING = 5  # orientation from which width and height change places
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339  # TIFF
_SIGNED = 2
ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
SCALED = ("PPM", "PNG")  # Pillow brings their 32-bit values to 0..65535


class Decoding(NamedTuple):
    """Declaration of a data set about the pixels of its files.

    Attributes:
        exif_orientation: Whether images are turned as their EXIF data say, so that they lie as a
            person sees them. Otherwise sizes, boxes and masks refer to the pixels as stored.
        max_value: Value that is white in files of more than 8 bits per channel, 4095 for 12 bits;
            None for what the file states, see `read_pixels`.
        channels: Number of channels: `COLORS` brings files of any kind to 8-bit colors; others are
            those that the files have, at their full depth, see `read_image`.
        array_axes: Order of height, width and channels in .npy files, ``"hwc"`` or ``"chw"``.
    """

    exif_orientation: bool = False
    max_value: float | None = None
    channels: int = COLORS
    array_axes: str = "hwc"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Decoding":
        """Take all from the options of a data set; what is missing there has its default."""
        known = {key: options[key] for key in cls._fields if key in options}
        return cls(**known)


AS_STORED = Decoding()


def read_pixels(
    path: ImageSource,
    max_pixels: int = MAX_PIXELS,
    decoding: Decoding = AS_STORED,
    least: tuple[int, int] | None = None,
) -> Pixels:
    """Read an image; see `read_picture`.

    Args:
        path: See `read_picture`.
        max_pixels: See `read_picture`.
        decoding: See `read_picture`.
        least: Where given, plain JPEG data come out shorter by the largest factor of 2, 4 and 8
            that leaves them at least this height and width, which saves a part of the decoding.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ImageError: See `read_picture`.
    """
    path, data = _read_ahead(path)
    header = jpeg_header(data)
    if (
        header is not None
        and header.width * header.height <= max_pixels
        and _is_upright(path, header, decoding)
    ):
        pixels = decode_jpeg(data, _reduction(header, least))
        if pixels is not None:
            return pixels
    return np.array(read_picture(path, max_pixels, decoding))


def _read_ahead(path: ImageSource) -> tuple[ImageSource, bytes]:
    """Read what may be JPEG data; give no bytes where `read_picture` is to tell what is wrong."""
    try:
        if isinstance(path, PackedImage):
            content = path.read_bytes()
            return path._replace(open=lambda image_id: content), content
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(len(SIGNATURE))
            return path, start + file.read() if start == SIGNATURE else b""
    except (OSError, ImageError):
        return path, b""


def _is_upright(path: ImageSource, header: JPEGHeader, decoding: Decoding) -> bool:
    """Tell whether JPEG data need not be turned."""
    if not decoding.exif_orientation or not header.annotated:
        return True
    with opened(path) as image:
        return exif_orientation(image) == 1


def _reduction(header: JPEGHeader, least: tuple[int, int] | None) -> int:
    """Return the factor by which both sides may come out shorter."""
    if least is None:
        return 1
    height, width = least
    room = min(header.height // height, header.width // width)
    return max(factor for factor in (1, 2, 4, 8) if factor == 1 or factor <= room)


def read_picture(
    path: ImageSource, max_pixels: int = MAX_PIXELS, decoding: Decoding = AS_STORED
) -> Image.Image:
    """Read an image of any kind as 8-bit RGB.

    Grayscale, palette and CMYK images become RGB, transparent pixels white; the first of several
    frames counts. Values of more than 8 bits lose their lower bits. Their range ends with
    ``decoding.max_value`` or, by default, with the largest value of the file's bits per sample:
    65535 of 16 bits, 4095 of a 12-bit TIFF. Where the file states nothing, it ends

    - for 32-bit integers with 255, 65535 or the largest of all, the first that no value exceeds,
    - for floats with 1 or 255, likewise;

    values below 0 or beyond these are stretched from the minimum to the maximum.

    Args:
        path: The file, or the image in a larger file.
        max_pixels: Largest accepted number of pixels, at least 1.
        decoding: What the data set declares about its files.

    Returns:
        The image, in mode RGB.

    Raises:
        ImageError: If the file is missing, no image, damaged or too large.
    """
    with opened(path, max_pixels) as image:
        if decoding.max_value is None or not has_deep_channels(image):
            return to_rgb(image, decoding)
        orientation = exif_orientation(image) if decoding.exif_orientation else 1
        return turned(_deep_colors(path, decoding.max_value), orientation)


def to_rgb(image: Image.Image, decoding: Decoding = AS_STORED) -> Image.Image:
    """Bring a PIL image of any mode to 8-bit RGB; see `read_picture`."""
    orientation = load(image, decoding)
    transparent = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        levels = _levels(image, decoding.max_value)
        if isinstance(transparent, int):
            levels[np.asarray(image) == transparent] = 255
        image = Image.fromarray(levels)
    elif transparent is not None or image.mode in ALPHA:
        image = with_alpha(image)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    picture = image if image.mode == "RGB" else image.convert("RGB")
    return turned(picture, orientation)


def size_of(image: Image.Image, decoding: Decoding) -> tuple[int, int]:
    """Return the width and height in pixels that an image which is not decoded yet will have."""
    told_turned = image.format in _TURNED_BY_PILLOW
    if told_turned == decoding.exif_orientation or exif_orientation(image) < FIRST_LYING:
        return image.size
    return image.size[::-1]


def exif_orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8; 1 if it is missing or the EXIF data are damaged."""
    try:
        found = int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return 1
    return found if found in _TURNS else 1


def load(image: Image.Image, decoding: Decoding) -> int:
    """Decode an image; return the orientation by which it is still to be `turned`."""
    done = exif_orientation(image) if image.format in _TURNED_BY_PILLOW else 1
    image.load()
    if decoding.exif_orientation:
        return exif_orientation(image)
    return _BACK.get(done, done)


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image of an EXIF orientation as it is meant to be seen."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def has_deep_channels(image: Image.Image) -> bool:
    """Tell of an image that is not decoded yet whether Pillow cuts its 16-bit channels."""
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(t[3]) for t in image.tile)


def decoded_deep(path: ImageSource) -> NDArray[np.uint16]:
    """Decode channels of 16 bits, (H, W, 3) or (H, W, 4) with alpha last, blue first."""
    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise ImageError("16-bit channels of a kind that is not read")
    return values


def _deep_colors(path: ImageSource, max_value: float) -> Image.Image:
    """Read channels of 16 bits with a stated range."""
    values = decoded_deep(path)
    colors = Image.fromarray(_scaled(values[..., 2::-1], max_value))
    if values.shape[2] == 3:
        return colors
    shown = Image.fromarray((values[..., 3] >> 8).astype(np.uint8))
    return Image.composite(colors, Image.new("RGB", colors.size, "white"), shown)


def with_alpha(image: Image.Image) -> Image.Image:
    """Bring an image with transparency to RGBA."""
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _levels(image: Image.Image, max_value: float | None) -> NDArray[np.uint8]:
    """Turn gray values of more than 8 bits into gray levels."""
    values = unsigned(image)
    if image.mode == "F" and not np.isfinite(values).all():
        raise ImageError("it has values that are no finite numbers")
    if max_value is not None:
        return _scaled(values, max_value)
    if image.mode.startswith("I;16"):
        return _scaled(values, (1 << bits_per_sample(image)) - 1)
    if image.mode == "I" and image.format in SCALED:
        return _scaled(values, 65535)
    low, high = float(values.min()), float(values.max())
    ends = (1, 255) if image.mode == "F" else (255, 65535, np.iinfo(values.dtype).max)
    end = next((end for end in ends if high <= end), None)
    if low >= 0 and end is not None:
        return _scaled(values, end)
    return _scaled((values - low) / ((high - low) or 1.0), 1)


def unsigned(image: Image.Image) -> NDArray[Any]:
    """Return the values of an image; Pillow tells integers of 32 bits without a sign as signed."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "I" and tags and _SIGNED not in _listed(tags.get(_SAMPLE_FORMAT)):
        return values.view(np.uint32)
    return values


def bits_per_sample(image: Image.Image) -> int:
    """Return the bits per sample that a TIFF states; 16 of other files of more than 8 bits."""
    tags = getattr(image, "tag_v2", {})
    return max(_listed(tags.get(_BITS_PER_SAMPLE)), default=16)


def _listed(value: Any) -> tuple[Any, ...]:
    """Return the values of a TIFF tag, which may be missing or a single one."""
    return () if value is None else tuple(value) if isinstance(value, tuple) else (value,)


def _scaled(values: NDArray[Any], end: float) -> NDArray[np.uint8]:
    """Bring values from 0..``end`` to 0..255; integers lose lower bits, floats are rounded."""
    if np.issubdtype(values.dtype, np.floating):
        return np.rint((values * (255 / end)).clip(0, 255)).astype(np.uint8)
    return (values.astype(np.float64) * (256 / (end + 1))).clip(0, 255).astype(np.uint8)
