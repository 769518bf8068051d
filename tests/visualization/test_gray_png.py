"""Gray PNG files: OpenCV reads what is written, and nothing else is read than what was written."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from learned_saliency.visualization import decode_gray, encode_gray

SHAPE = (5, 7)


def pixels(dtype):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, SHAPE, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_opencv_and_this_project_read_the_same_pixels(dtype):
    given = pixels(dtype)
    content = encode_gray(given)
    read = decode_gray(content, SHAPE, 8 * given.itemsize)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, given)
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found, given)


def test_no_changed_byte_is_read_as_other_pixels():
    content = encode_gray(pixels(np.uint16))
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        with pytest.raises(ValueError, match="expected a gray PNG"):
            decode_gray(bytes(changed), SHAPE, 16)


def with_data(lines: bytes) -> bytes:
    content, data = encode_gray(pixels(np.uint8)), zlib.compress(lines)
    chunk = b"IDAT" + data
    checked = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + checked + content[-12:]


def test_more_pixels_than_said_take_no_memory():
    lines = b"\x01" + bytes(SHAPE[1])
    assert not decode_gray(with_data(lines * SHAPE[0]), SHAPE, 8).any()
    for many in (SHAPE[0] - 1, SHAPE[0] + 1, 10**6):
        with pytest.raises(ValueError, match="another number of pixels"):
            decode_gray(with_data(lines * many), SHAPE, 8)
    with pytest.raises(ValueError, match="another filter"):
        decode_gray(with_data(bytes(8 * SHAPE[0])), SHAPE, 8)
    with pytest.raises(ValueError, match="expected a gray PNG of 5 x 7"):
        decode_gray(encode_gray(pixels(np.uint8)), (7, 5), 8)
