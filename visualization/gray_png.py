"""Gray PNG files of one form, read without trust in what they say of themselves."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SUB = 1  # the filter of every row: differences to the left neighbor, which suit smooth maps best
_LEVEL = 6  # zlib's level of compression

Gray = NDArray[np.uint8] | NDArray[np.uint16]


def encode_gray(pixels: Gray) -> bytes:
    """Encode gray pixels of 8 or 16 bits, (H, W), as PNG; equal pixels give equal bytes.

    OpenCV's own PNG of a smooth 16-bit map takes three times as many bytes.
    """
    size = pixels.dtype.itemsize
    rows = pixels.astype(f">u{size}").view(np.uint8).reshape(len(pixels), -1)
    lines = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = _SUB
    lines[:, 1 : 1 + size] = rows[:, :size]
    lines[:, 1 + size :] = rows[:, size:] - rows[:, :-size]
    data = zlib.compress(lines.tobytes(), _LEVEL)
    header = _header(pixels.shape, 8 * size)
    return _SIGNATURE + header + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def decode_gray(content: bytes, shape: tuple[int, int], bits: int) -> Gray:
    """Decode what `encode_gray` wrote, with no more memory than the expected pixels need.

    Args:
        content: The file.
        shape: Expected height and width.
        bits: Expected bits of a pixel, 8 or 16.

    Returns:
        Pixels (H, W), uint8 or uint16.

    Raises:
        ValueError: If it is anything else than such a file.
    """
    size = bits // 8
    begin = _SIGNATURE + _header(shape, bits)
    end = _chunk(b"IEND", b"")
    data = content[len(begin) + 8 : -len(end) - 4]
    if content != begin + _chunk(b"IDAT", data) + end:
        raise ValueError(f"expected a gray PNG of {shape[1]} x {shape[0]} pixels of {bits} bits")
    height, length = shape[0], 1 + shape[1] * size
    reader = zlib.decompressobj()
    try:
        lines = reader.decompress(data, height * length + 1)
    except zlib.error as error:
        raise ValueError(f"cannot be decompressed ({error})") from None
    if len(lines) != height * length or not reader.eof or reader.unused_data:
        raise ValueError("holds another number of pixels than it says")
    rows = np.frombuffer(lines, np.uint8).reshape(height, length)
    if (rows[:, 0] != _SUB).any():
        raise ValueError("has rows of another filter")
    steps = rows[:, 1:].reshape(height, shape[1], size)
    values = np.cumsum(steps, axis=1, dtype=np.uint8)
    return values.reshape(height, -1).view(f">u{size}").astype(f"=u{size}")


def _header(shape: tuple[int, ...], bits: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], bits, 0, 0, 0, 0))


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
