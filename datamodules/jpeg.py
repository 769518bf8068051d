"""Decoding of plain JPEG data by OpenCV: sooner than Pillow, with the same pixels."""

import io
import struct
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGNATURE, _END = b"\xff\xd8", b"\xff\xd9"
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}  # the bits of OpenCV's IMREAD_REDUCED_... without a color
_SCAN, _APP1 = 0xDA, 0xE1
_SEQUENTIAL = (0xC0, 0xC1)  # frames in one scan without refinement
_FRAME = struct.Struct(">BHHB")  # bits per value, height, width, channels
_TABLES = (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0))  # segments that may precede the scan
_KINDS = (("L", {}), ("RGB", {"subsampling": 0}), ("RGB", {"subsampling": 2}))


class JPEGHeader(NamedTuple):
    """Facts about plain JPEG data.

    Attributes:
        width: Width of the image in pixels, as stored.
        height: Height, likewise.
        annotated: Whether there are EXIF or XMP data, which may tell how the image is turned.
    """

    width: int
    height: int
    annotated: bool


def jpeg_header(data: bytes) -> JPEGHeader | None:
    """Read the header of plain JPEG data.

    Plain are whole data of one sequential scan with 8 bits per value, gray or in three channels,
    and without any marker in the scan that does not belong there. Most photographs are of this
    kind, and for it OpenCV and Pillow agree, also where bytes are spoilt.

    Args:
        data: Bytes of a file.

    Returns:
        None where the data are of any other kind.
    """
    if not data.startswith(SIGNATURE) or not data.endswith(_END):
        return None
    place, annotated, frame = 2, False, None
    while place + 5 <= len(data) and data[place] == 0xFF:
        marker, start = data[place + 1], place + 4
        place += 2 + int.from_bytes(data[place + 2 : start])
        if marker in _SEQUENTIAL and frame is None:
            frame = data[start : start + _FRAME.size].ljust(_FRAME.size, b"\0")
            bits, height, width, channels = _FRAME.unpack(frame)
            if bits != 8 or not height or not width or channels not in (1, 3):
                return None
        elif marker == _SCAN:
            if frame is None or data[start] != channels or not _is_one_scan(data, place):
                return None
            return JPEGHeader(width, height, annotated)
        elif marker not in _TABLES:
            return None
        annotated |= marker == _APP1
    return None


def decode_jpeg(data: bytes, reduction: int = 1) -> NDArray[np.uint8] | None:
    """Decode plain JPEG data.

    Args:
        data: Bytes with a `jpeg_header`.
        reduction: Factor 1, 2, 4 or 8 by which both sides come out shorter, rounded up; decoding
            skips what is not needed for that.

    Returns:
        uint8 (H, W, 3), red first, the pixels as stored; None where OpenCV cannot do it or decodes
        otherwise than Pillow on this machine.
    """
    if not _agrees():
        return None
    return _decoded(data, _REDUCED[reduction])


def _decoded(data: bytes, flags: int = 0) -> NDArray[np.uint8] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS | flags)
    except cv2.error:
        return None


@cache
def _agrees() -> bool:
    """Compare the pixels of OpenCV and Pillow, whose JPEG libraries the installation chose."""
    levels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    colors = cv2.resize(levels, (51, 67), interpolation=cv2.INTER_CUBIC)
    for mode, options in _KINDS:
        buffer = io.BytesIO()
        Image.fromarray(colors).convert(mode).save(buffer, "JPEG", quality=85, **options)
        expected = np.asarray(Image.open(buffer).convert("RGB"))
        found = _decoded(buffer.getvalue())
        if found is None or not np.array_equal(found, expected):
            return False
    return True


def _is_one_scan(data: bytes, place: int) -> bool:
    """Tell whether the bytes from ``place`` to the end mark hold no marker but restarts."""
    scan = np.frombuffer(data, np.uint8, offset=min(place, len(data) - 2))[:-2]
    after = scan[1:][scan[:-1] == 0xFF]
    restarts = (after & 0xF8) == 0xD0
    return bool(scan.size and scan[-1] != 0xFF and ((after == 0) | restarts).all())
