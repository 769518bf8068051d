"""Reading of an image in blocks, whatever its size."""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from learned_saliency.datamodules import Decoding, ImageError, Pixels, read_pixels, to_rgb
from learned_saliency.pipeline.prediction.tiles.scratch import release

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY = b"\x93NUMPY"
_SEGMENT = 1 << 28  # bytes of the largest segment that is decoded
_CACHE = 1 << 26  # bytes of decoded segments that are kept
_ROWS = 1024  # rows of pixels that are read at once for an image that is reduced
_INFLATED = 1032  # most bytes that deflate makes of one
_DEFLATE = (8, 32946)  # TIFF's numbers of the compression
_TO_TILES = "save it as a tiled TIFF, e.g. vips tiffsave IN OUT.tif --tile --bigtiff"


class Source(Protocol):
    """Pixels of an image, read in blocks.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
    """

    height: int
    width: int

    def block(self, top: int, left: int, height: int, width: int) -> Pixels:
        """Read a part that lies inside the image: uint8 (height, width, 3)."""
        ...


@contextmanager
def open_source(path: Path, max_pixels: int, decoding: Decoding) -> Iterator[Source]:
    """Open an image for reading in blocks.

    TIFF files in strips or tiles and ``.npy`` files are read in parts; all else, and TIFF files of
    rarer kinds, are decoded as a whole, up to ``max_pixels``.

    Args:
        path: The file.
        max_pixels: Most pixels of what is decoded as a whole.
        decoding: What the data set declares about its files.

    Raises:
        ImageError: If the file is no image, damaged or too large to be decoded as a whole.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_NPY))
    except OSError as error:
        raise ImageError(error.strerror or str(error)) from None
    if start == _NPY:
        yield _npy(path, decoding)
    elif start[:4] in _TIFF:
        with _tiff(path, max_pixels, decoding) as source:
            yield source
    else:
        yield _whole(path, max_pixels, decoding, _TO_TILES)


class Reduced:
    """An image in which N x N pixels are one, their mean.

    Args:
        source: The image.
        factor: N, at least 1; incomplete squares at the right and lower border are filled with
            their last pixels.
    """

    def __init__(self, source: Source, factor: int) -> None:
        self._source = source
        self._factor = factor
        self.height = -(-source.height // factor)
        self.width = -(-source.width // factor)

    def block(self, top: int, left: int, height: int, width: int) -> Pixels:
        """Read a part that lies inside the reduced image: uint8 (height, width, 3)."""
        if self._factor == 1:
            return self._source.block(top, left, height, width)
        rows = max(1, _ROWS // self._factor)
        bands = [
            self._band(top + done, left, min(rows, height - done), width)
            for done in range(0, height, rows)
        ]
        return np.concatenate(bands)

    def _band(self, top: int, left: int, height: int, width: int) -> Pixels:
        n = self._factor
        rows = min(height * n, self._source.height - top * n)
        columns = min(width * n, self._source.width - left * n)
        pixels = self._source.block(top * n, left * n, rows, columns)
        missing = height * n - rows, width * n - columns
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


class _Array:
    """An image in memory, or in a file that is mapped."""

    def __init__(self, values: NDArray[Any], decoding: Decoding) -> None:
        self._values = values
        self._decoding = decoding
        self.height, self.width = values.shape[:2]

    def block(self, top: int, left: int, height: int, width: int) -> Pixels:
        values = np.array(self._values[top : top + height, left : left + width])
        if isinstance(self._values, np.memmap):
            release(self._values)
        return _colors(values, self._decoding)


class _Segments:
    """A TIFF file in strips or tiles, of which the last ones that were decoded are kept."""

    def __init__(self, page: Any, decoding: Decoding) -> None:
        self._page = page
        self._decoding = decoding
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self.height, self.width = page.imagelength, page.imagewidth
        self._rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, self.height)
        self._columns = page.tilewidth if page.is_tiled else self.width
        self._samples = page.samplesperpixel
        self._raw = self._rows * self._columns * self._samples * page.dtype.itemsize
        if self._raw > _SEGMENT:
            kind = "tiles" if page.is_tiled else "strips"
            raise ImageError(f"its {kind} of {self._raw >> 20} MB are too large; {_TO_TILES}")
        across, down = -(-self.width // self._columns), -(-self.height // self._rows)
        if across * down > len(page.dataoffsets):
            raise ImageError("damaged (it lists fewer segments than the image has)")
        self._across = across

    def block(self, top: int, left: int, height: int, width: int) -> Pixels:
        values = np.zeros((height, width, self._samples), self._page.dtype)
        for row in range(top // self._rows, (top + height - 1) // self._rows + 1):
            for column in range(left // self._columns, (left + width - 1) // self._columns + 1):
                y, x = row * self._rows, column * self._columns
                segment = self._segment(row * self._across + column)
                y0, y1 = max(top, y), min(top + height, y + segment.shape[0])
                x0, x1 = max(left, x), min(left + width, x + segment.shape[1])
                part = segment[y0 - y : y1 - y, x0 - x : x1 - x]
                values[y0 - top : y1 - top, x0 - left : x1 - left] = part
        return _colors(values, self._decoding)

    def _segment(self, number: int) -> NDArray[Any]:
        """Decode a segment, (rows, columns, samples), or take it from those that are kept."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        segment = self._decoded(number)
        self._kept[number] = segment
        while len(self._kept) > max(1, _CACHE // self._raw):
            self._kept.popitem(last=False)
        return segment

    def _decoded(self, number: int) -> NDArray[Any]:
        page = self._page
        size = page.databytecounts[number]
        if not size:  # a tile that was left out
            return np.zeros((self._rows, self._columns, self._samples), page.dtype)
        if size > 2 * self._raw + 65536:
            raise ImageError("damaged (a segment is larger than its pixels)")
        file = page.parent.filehandle
        try:
            file.seek(page.dataoffsets[number])
            data = file.read(size)
            if page.compression in _DEFLATE and size * _INFLATED > 4 * _SEGMENT:
                _check_inflated(data, self._raw)
            segment = page.decode(data, number, jpegtables=page.jpegtables)[0]
        except ImageError:
            raise
        except Exception as error:  # decoders raise anything on a damaged file
            raise ImageError(_why(error)) from None
        if segment is None or segment.ndim != 4:
            raise ImageError("damaged (a segment is missing)")
        return segment[0]


def _check_inflated(data: bytes, expected: int) -> None:
    """Refuse data that inflate to more than the pixels that they stand for."""
    inflater = zlib.decompressobj()
    if len(inflater.decompress(data, expected + 65536)) >= expected + 65536:
        raise ImageError("damaged (a segment holds more than its pixels)")


def _why(error: Exception) -> str:
    """Put an error of tifffile in a sentence."""
    if "imagecodecs" in str(error):
        return "its compression is decoded by another package; pip install imagecodecs"
    lines = str(error).splitlines()
    return f"damaged ({lines[0].rstrip('.') if lines else type(error).__name__})"


def _npy(path: Path, decoding: Decoding) -> Source:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ImageError(f"damaged ({str(error).splitlines()[0]})") from None
    shape = values.shape
    if not values.size or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (3, 4)):
        raise ImageError(f"expected an array (H, W), (H, W, 3) or (H, W, 4), got {shape}")
    if values.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"expected values of 8 or 16 unsigned bits, got {values.dtype}")
    return _Array(values, decoding)


@contextmanager
def _tiff(path: Path, max_pixels: int, decoding: Decoding) -> Iterator[Source]:
    """Open the first image of a TIFF file; of a pyramid, that is the largest."""
    import tifffile

    try:
        file = tifffile.TiffFile(path)
        page = file.pages[0]
    except Exception as error:  # a damaged file raises anything
        raise ImageError(_why(error)) from None
    with file:
        if (reason := _unusual(page, decoding)) is not None:
            remedy = f"it cannot be read in parts ({reason}); save it as plain 8-bit RGB"
            yield _whole(path, max_pixels, decoding, remedy)
        elif page.is_memmappable:
            kind = page.dtype.newbyteorder(page.parent.byteorder)
            shape = page.imagelength, page.imagewidth, page.samplesperpixel
            if path.stat().st_size < page.dataoffsets[0] + math.prod(shape) * kind.itemsize:
                raise ImageError("damaged (the file is shorter than its pixels)")
            yield _Array(np.memmap(path, kind, "r", page.dataoffsets[0], shape), decoding)
        else:
            yield _Segments(page, decoding)


def _unusual(page: Any, decoding: Decoding) -> str | None:
    """Return what keeps a TIFF page from being read in parts; None for plain gray or RGB."""
    import tifffile

    kinds = tifffile.PHOTOMETRIC
    colors = {kinds.MINISBLACK: 1, kinds.RGB: 3, kinds.YCBCR: 3}.get(page.photometric)
    jpeg = page.compression in (6, 7)
    if colors is None or (page.photometric == kinds.YCBCR and not jpeg):
        return f"colors stored as {getattr(page.photometric, 'name', page.photometric)}"
    if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
        return f"values of {page.bitspersample} bits, {page.dtype}"
    extra = page.samplesperpixel - colors
    if extra not in (0, 1) or (extra and page.extrasamples[0] != 2):
        return f"{page.samplesperpixel} values per pixel"
    if page.samplesperpixel > 1 and page.planarconfig != 1:
        return "colors in planes"
    if page.imagedepth > 1 or page.ndim > 3:
        return "a volume"
    tag = page.tags.get("Orientation")
    if decoding.exif_orientation and tag is not None and int(tag.value) > 1:
        return f"it lies turned, orientation {int(tag.value)}"
    return None


def _whole(path: Path, max_pixels: int, decoding: Decoding, remedy: str) -> Source:
    """Decode an image as a whole."""
    try:
        return _Array(read_pixels(path, max_pixels, decoding), decoding)
    except ImageError as error:
        hint = f"; {remedy}" if "megapixels" in str(error) else ""
        raise type(error)(f"{error}{hint}") from None


def _colors(values: NDArray[Any], decoding: Decoding) -> Pixels:
    """Turn plain values (h, w), (h, w, 1) to (h, w, 4) into colors as `read_pixels` does."""
    if values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8:
        return values
    planes = values[:, :, None] if values.ndim == 2 else values
    if planes.dtype != np.uint8:
        planes = _eight_bits(planes, decoding)
    planes = planes[:, :, 0] if planes.shape[2] == 1 else planes
    return np.array(to_rgb(Image.fromarray(np.ascontiguousarray(planes))))


def _eight_bits(planes: NDArray[Any], decoding: Decoding) -> NDArray[np.uint8]:
    """Bring 16-bit values to 8 bits, colors up to the declared white, transparency by its bits."""
    native = np.moveaxis(planes.astype(np.uint16), 2, 0)
    colors = len(native) - 1 if len(native) in (2, 4) else len(native)
    found = [
        np.array(to_rgb(Image.fromarray(np.ascontiguousarray(plane)), decoding))[:, :, 0]
        for plane in native[:colors]
    ]
    return np.stack([*found, *(native[colors:] >> 8).astype(np.uint8)], 2)
