"""Images of any number of channels at the full depth of their files, see `read_image`."""

import contextlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learned_saliency.datamodules.arrays import ARRAY, read_array, read_array_header
from learned_saliency.datamodules.decoding import (
    AS_STORED,
    COLORS,
    FIRST_LYING,
    SCALED,
    Decoding,
    bits_per_sample,
    decoded_deep,
    exif_orientation,
    has_deep_channels,
    load,
    read_pixels,
    size_of,
    unsigned,
)
from learned_saliency.datamodules.opening import (
    MAX_PIXELS,
    ImageError,
    ImageFormError,
    ImageSource,
    check_size,
    opened,
    streamed,
)
from learned_saliency.datamodules.tiffs import TIFF, TiffImage, can_read_tiff, read_tiff

_KINDS = {"b": "1-bit", "u": "{}-bit", "i": "signed {}-bit", "f": "{}-bit float"}
_PALETTES = ("P", "PA")
_BITS = {"1": 1, "L": 8, "F": 32, "I": 32}
_SAMPLES = 277  # TIFF


class ImageHeader(NamedTuple):
    """Content of the header of an image file.

    Attributes:
        width: In pixels, as stored.
        height: Likewise.
        channels: Number of channels of the file; of a palette the 3 of its colors.
        depth: Kind of its numbers, ``"16-bit"``, ``"32-bit float"``.
        orientation: EXIF orientation, 1 to 8.
        palette: Whether pixels are entries of a palette.
    """

    width: int
    height: int
    channels: int
    depth: str
    orientation: int = 1
    palette: bool = False

    def size(self, turned: bool) -> tuple[int, int]:
        """Return width and height in pixels: as stored, or ``turned`` as a person sees it."""
        sides = self.width, self.height
        return sides[::-1] if turned and self.orientation >= FIRST_LYING else sides

    @property
    def form(self) -> str:
        """Describe channels and depth, ``"1 channel, 16-bit"``."""
        if self.palette:
            return f"a palette of colors, {self.depth}"
        return f"{self.channels} channel{'' if self.channels == 1 else 's'}, {self.depth}"

    def check(self, channels: int) -> None:
        """Check that a file has the channels that a data set declares.

        Raises:
            ImageFormError: If it has others; colors are made of any file.
        """
        if channels == COLORS or (channels == self.channels and not self.palette):
            return
        found = self.form.partition(",")[0]
        raise ImageFormError(
            f"has {found}, not {channels} as data.channels={channels} says; convert it or leave it "
            "out"
        )


def read_image(
    path: ImageSource,
    max_pixels: int = MAX_PIXELS,
    decoding: Decoding = AS_STORED,
    least: tuple[int, int] | None = None,
) -> NDArray[Any]:
    """Read an image as a data set declares it: this is what every network sees of a file.

    With 3 channels, what `read_pixels` gives: 8-bit colors of any kind of file. With another number
    the file has to have as many, and they keep its full depth: gray, transparency as a channel of
    its own, 8 and 16 bits, floats; TIFF of any number of channels, and .npy files of (H, W), of
    (H, W, C) or, with ``decoding.array_axes="chw"``, of (C, H, W). White is ``decoding.max_value``
    or, by default, the largest value of 8 or 16 bits (or of the bits per sample that a file states)
    and 1 for floats. Values beyond a declared white stay beyond; without a declaration, integers of
    more bits are refused, and floats outside of 0..1.

    Args:
        path: The file, or the image in a larger file.
        max_pixels: Largest accepted number of pixels, at least 1.
        decoding: What the data set declares about its files.
        least: See `read_pixels`; of use for 3 channels alone.

    Returns:
        uint8 (H, W, 3), or float32 (H, W, C), in which 0 is black and 255 is white.

    Raises:
        ImageFormError: If the file has another number of channels, or does not say what is white.
        ImageError: If the file is missing, no image, damaged or too large.
    """
    if decoding.channels == COLORS:
        return read_pixels(path, max_pixels, decoding, least)
    start = _start(path)
    if start == ARRAY:
        with streamed(path) as file:
            header = read_array_header(file, decoding.array_axes)
            height, width, channels = header.sides
            check_size(width, height, max_pixels)
            ImageHeader(width, height, channels, "").check(decoding.channels)
            return levels(read_array(file, header), decoding.max_value)
    if start[:4] in TIFF and (found := _read_tiff(path, max_pixels, decoding.channels)):
        _tiff_header(found).check(decoding.channels)
        values = levels(found.values, decoding.max_value, found.bits)
        return turned_array(values, found.orientation if decoding.exif_orientation else 1)
    with opened(path, max_pixels) as image:
        header_of(image, turned=False).check(decoding.channels)
        return _read_planes(path, image, decoding)


def read_header(
    path: ImageSource, max_pixels: int = MAX_PIXELS, decoding: Decoding = AS_STORED
) -> ImageHeader:
    """Read the header of an image of any number of channels; see `read_image` for arguments.

    Raises:
        ImageError: If the file is missing, no image or too large. Its form is not checked.
    """
    start = _start(path)
    if start == ARRAY:
        with streamed(path) as file:
            header = read_array_header(file, decoding.array_axes)
            height, width, channels = header.sides
            check_size(width, height, max_pixels)
            return ImageHeader(width, height, channels, _depth(header.dtype))
    if start[:4] in TIFF and (found := _read_tiff(path, max_pixels)):
        return _tiff_header(found)
    with opened(path, max_pixels) as image:
        return header_of(image, decoding.exif_orientation)


def pixel_count(
    path: ImageSource, max_pixels: int = MAX_PIXELS, decoding: Decoding = AS_STORED
) -> int:
    """Read the number of pixels of an image file from its header alone; see `read_image`."""
    if decoding.channels != COLORS:
        header = read_header(path, max_pixels, decoding)
        header.check(decoding.channels)
        return header.width * header.height
    with opened(path, max_pixels) as image:
        return image.width * image.height


def planes_of(image: Image.Image, decoding: Decoding = AS_STORED) -> NDArray[np.float32]:
    """Bring a PIL image of any number of channels to levels (H, W, C); see `read_image`.

    Raises:
        ImageFormError: As `read_image`; or if Pillow would cut the image's channels to 8 bits.
        ImageError: If the image is damaged.
    """
    if has_deep_channels(image):
        raise ImageFormError("has channels of 16 bits, which Pillow cuts; hand over its path")
    header_of(image, turned=False).check(decoding.channels)
    return _decoded(image, decoding)


def levels(values: NDArray, declared: float | None, bits: int = 0) -> NDArray[np.float32]:
    """Bring the numbers of a file to levels; see `read_image`.

    Args:
        values: Any shape, of truth values, integers or floats.
        declared: Value that is white; None for the natural one.
        bits: Bits of a sample that the file states; 0 for those of the numbers.

    Returns:
        float32 of the same shape: 0 is black, 255 is white.

    Raises:
        ImageFormError: If no value is known to be white.
        ImageError: If a value is no finite number.
    """
    kind, size = values.dtype.kind, bits or 8 * values.dtype.itemsize
    if kind == "f" and not np.isfinite(values).all():
        raise ImageError("it has values that are no finite numbers")
    white = declared
    if declared is None:
        white = 1.0 if kind in "fb" else float((1 << size) - 1)
        known = kind in "fb" or (kind == "u" and size <= 16)
        low, high = float(values.min()), float(values.max())
        if not known or low < 0 or high > white:
            raise ImageFormError(
                f"has {_depth(values.dtype)} values from {low:g} to {high:g}, but which one is "
                "white is not known; give it as data.max_value"
            )
    return (values.astype(np.float64) * (255 / white)).astype(np.float32)


def turned_array(values: NDArray, orientation: int) -> NDArray:
    """Turn an image (H, W, C) of an EXIF orientation as it is meant to be seen."""
    if orientation in (5, 6, 7, 8):
        values = values.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _start(path: ImageSource) -> bytes:
    with streamed(path) as file:
        return file.read(len(ARRAY))


def _read_tiff(path: ImageSource, max_pixels: int, wanted: int | None = None) -> TiffImage | None:
    """Read a TIFF file of several channels; None where Pillow reads it as it is."""
    if not can_read_tiff():
        with contextlib.suppress(ImageError), opened(path, max_pixels) as image:
            if image.tag_v2.get(_SAMPLES, 1) == 1:
                return None
    with streamed(path) as file:
        # one channel is Pillow's to decode
        found = read_tiff(file, max_pixels, None if wanted == 1 else wanted)
        return None if found.channels == 1 else found


def _tiff_header(found: TiffImage) -> ImageHeader:
    depth = _depth(found.dtype, found.bits)
    return ImageHeader(found.width, found.height, found.channels, depth, found.orientation)


def header_of(image: Image.Image, turned: bool) -> ImageHeader:
    """Return what Pillow knows of an image that is not decoded yet.

    Args:
        image: The image.
        turned: Whether its orientation is wanted, for which a PNG is decoded.
    """
    bits = 16 if has_deep_channels(image) else _BITS.get(image.mode, 8)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in SCALED):
        bits = bits_per_sample(image)
    (width, height), palette = size_of(image, AS_STORED), image.mode in _PALETTES
    orientation = exif_orientation(image) if turned else 1
    kind = "f" if image.mode == "F" else "u"
    channels = COLORS if palette else len(image.getbands())
    return ImageHeader(width, height, channels, _KINDS[kind].format(bits), orientation, palette)


def _depth(dtype: np.dtype, bits: int = 0) -> str:
    return _KINDS[dtype.kind].format(bits or 8 * dtype.itemsize)


def _read_planes(path: ImageSource, image: Image.Image, decoding: Decoding) -> NDArray[np.float32]:
    """Decode what Pillow has opened, of the right number of channels."""
    if has_deep_channels(image):
        orientation = exif_orientation(image) if decoding.exif_orientation else 1
        values = _colors_first(decoded_deep(path), decoding.channels)
        return turned_array(levels(values, decoding.max_value), orientation)
    return _decoded(image, decoding)


def _decoded(image: Image.Image, decoding: Decoding) -> NDArray[np.float32]:
    """Decode what Pillow keeps the depth of."""
    orientation = load(image, decoding)
    if image.mode in ("La", "RGBa"):  # colors that are multiplied with the transparency
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in SCALED)
    values = unsigned(image)
    values = values[..., None] if values.ndim == 2 else values
    found = levels(values.astype(np.uint16) if deep else values, decoding.max_value, _of(image))
    return turned_array(found, orientation)


def _of(image: Image.Image) -> int:
    """Return the bits per sample that a file of more than 8 bits states."""
    return bits_per_sample(image) if image.mode.startswith("I;16") else 0


def _colors_first(values: NDArray, channels: int) -> NDArray:
    """Order the channels of OpenCV, blue first, as the file has them."""
    if channels == 2:  # gray and transparency
        return values[..., [0, 3]] if values.shape[2] == 4 else values
    return values[..., [2, 1, 0, 3]]
