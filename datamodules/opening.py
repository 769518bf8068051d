"""Opening of images: regular files, in formats that Pillow decodes by itself, of limited size."""

import contextlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError

from learned_saliency.errors import MendableError

MAX_PIXELS = 178_956_970  # Pillow's own limit

# The likely ones first, those without a signature last. Not among them: what Pillow hands to other
# programs (EPS to Ghostscript) or to handlers of other libraries (WMF, GRIB), and containers of
# further files of any format (IPTC).
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM", "QOI", "DIB"),
    *("ICO", "ICNS", "PSD", "DDS", "SGI", "PCX", "DCX", "SUN", "FLI", "XPM", "XBM", "MSP", "IM"),
    "TGA",
)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class ImageError(ValueError):
    """Error of an object that is no image, or no usable image; the message tells why."""


class MissingImageError(ImageError):
    """Error of a file that is not there."""


class ImageFormError(ImageError):
    """Error of an image that is fine, but of another form than the data set declares.

    The message says what was found, what is wanted, and how to mend it.
    """


def complaint(error: ImageError) -> str:
    """Say what is wrong with an image and how to mend it, after its name, without a full stop."""
    if isinstance(error, ImageFormError):
        return str(error)
    return f"does not decode ({error}); replace it"


class PackedImage(NamedTuple):
    """Image that is no file of its own, but a part of a larger one.

    It stands in wherever a path of an image is expected, and is read when it is needed.

    Attributes:
        path: Name in messages: the root and the id.
        image_id: The id.
        open: Reads the encoded bytes of an image by its id; raises `ImageError`.
    """

    path: Path
    image_id: str
    open: Callable[[str], bytes]

    def read_bytes(self) -> bytes:
        """Read the encoded bytes, as `Path.read_bytes` does of a file."""
        return self.open(self.image_id)

    def __str__(self) -> str:
        """Return the name in messages; of a member of a tar file, the two names."""
        return str(self.path).replace(".tar/", ".tar: member ", 1)


ImageSource = Path | PackedImage


def image_source(
    root: Path, image_id: str, opener: Callable[[str], bytes] | None = None
) -> ImageSource:
    """Find the image of an id: a file below the root or, with ``opener``, what that gives."""
    path = root / image_id
    return path if opener is None else PackedImage(path, image_id, opener)


@contextlib.contextmanager
def opened(path: ImageSource, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image and read its header; all errors of it and of what follows are told.

    Args:
        path: The image.
        max_pixels: Largest accepted number of pixels, at least 1.

    Yields:
        The image, not decoded yet; the first of several frames.

    Raises:
        ImageError: If the file is missing, no image, damaged or too large.
    """
    # given a path, Pillow maps an uncompressed TIFF into memory, and turned ones wrongly
    with (
        streamed(path) as file,
        _PIXEL_LIMIT,
        Image.open(file, formats=_formats()) as image,
    ):
        check_size(image.width, image.height, max_pixels)
        yield image


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise `ImageError` if an image has more pixels than are allowed."""
    pixels = width * height
    if pixels > max_pixels:
        raise ImageError(
            f"{width} x {height} are {pixels / 1e6:.0f} megapixels, more than "
            f"the {round(max_pixels / 1e6, 2):g} that are allowed"
        )


@contextlib.contextmanager
def streamed(path: ImageSource) -> Iterator[BinaryIO]:
    """Open the bytes of an image; all errors of it and of what follows are told.

    Yields:
        The bytes, from their beginning.

    Raises:
        ImageError: If the file is missing or empty, or what is done with it raises.
    """
    try:
        with _stream(path) as file:
            yield file
    except (ImageError, MemoryError, MendableError):  # the last: of the file that an image is in
        raise
    except FileNotFoundError as error:
        raise MissingImageError(error.strerror) from None
    except UnidentifiedImageError:
        raise ImageError("no image of a known kind") from None
    except OSError as error:
        raise ImageError(error.strerror or _first_line(error)) from None
    except Exception as error:  # decoders raise anything on a damaged file
        raise ImageError(f"damaged ({_first_line(error)})") from None


def _stream(path: ImageSource) -> BinaryIO:
    if isinstance(path, PackedImage):
        content = path.read_bytes()
        if not content:
            raise ImageError("the image is empty")
        return io.BytesIO(content)
    check_regular(path)
    return path.open("rb")


def check_regular(path: Path) -> None:
    """Refuse files at which opening would wait, and empty ones, which are misunderstood.

    Raises:
        ImageError: If the file is empty or no regular file.
        FileNotFoundError: If there is no such file.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"no regular file, but {kind_of(found.st_mode)}")
    if not found.st_size:
        raise ImageError("the file is empty")


def kind_of(mode: int) -> str:
    """Name the kind of a file that is no regular one, from its ``st_mode``."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")


@cache
def _formats() -> tuple[str, ...]:
    """List the accepted formats that this build of Pillow knows."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


class _PixelLimit:
    """Pillow's own limit of pixels, one for all threads: off while any of them opens an image."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._limit = Image.MAX_IMAGE_PIXELS

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._readers += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                Image.MAX_IMAGE_PIXELS = self._limit

    def forget_threads(self) -> None:
        """Forget the threads of the process that this one was forked from."""
        self._lock = threading.Lock()
        if self._readers:
            self._readers, Image.MAX_IMAGE_PIXELS = 0, self._limit


_PIXEL_LIMIT = _PixelLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_PIXEL_LIMIT.forget_threads)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
