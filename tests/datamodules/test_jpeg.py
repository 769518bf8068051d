"""JPEG data decoded by OpenCV: Pillow's pixels, or none."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import jpeg, read_pixels
from learned_saliency.datamodules.jpeg import decode_jpeg, jpeg_header


def picture(generator, width, height):
    """Draw colored blotches with some noise."""
    blotches = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    smooth = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = generator.normal(0, 8, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def encoded(image, **options):
    """Encode an image as JPEG data."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 80} | options)
    return buffer.getvalue()


def by_pillow(data):
    """Decode by Pillow; None where it refuses."""
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except OSError:
        return None


@pytest.mark.parametrize("seed", range(40))
def test_plain_jpeg_data_have_the_pixels_of_pillow(seed):
    generator = np.random.default_rng(seed)
    width, height = generator.integers(1, 120, 2).tolist()
    image = picture(generator, width, height).convert("L" if seed % 5 == 4 else "RGB")
    options = {
        "quality": int(generator.integers(20, 100)),
        "optimize": bool(seed & 1),
        "restart_marker_blocks": seed % 3,
    }
    if image.mode == "RGB":
        stored_as_rgb = {"keep_rgb": True, "subsampling": 0}
        options |= stored_as_rgb if seed % 7 == 6 else {"subsampling": seed % 3}
    data = encoded(image, **options)
    assert jpeg_header(data)[:2] == (width, height)
    np.testing.assert_array_equal(decode_jpeg(data), by_pillow(data))


def test_spoilt_bytes_give_the_pixels_of_pillow_or_none():
    generator = np.random.default_rng(0)
    decoded = refused = 0
    for trial in range(600):
        data = bytearray(encoded(picture(generator, 40, 30), restart_marker_blocks=trial % 3))
        start = 0 if trial % 2 else data.find(b"\xff\xda")
        for place in generator.integers(start, len(data), 1 + trial % 4):
            data[place] = generator.integers(256)
        if trial % 5 == 4:
            data = data[: generator.integers(start, len(data))] + b"\xff\xd9"
        found = None if jpeg_header(bytes(data)) is None else decode_jpeg(bytes(data))
        if found is None:
            refused += 1
        else:
            np.testing.assert_array_equal(found, by_pillow(bytes(data)))
            decoded += 1
    assert decoded > 200
    assert refused > 100


def test_jpeg_data_of_other_kinds_are_left_to_pillow(tmp_path):
    image = picture(np.random.default_rng(0), 40, 30)
    whole = encoded(image)
    scan = whole.find(b"\xff\xda") + 60
    others = {
        "progressive": encoded(image, progressive=True),
        "cmyk": encoded(image.convert("CMYK")),
        "cut": whole[:-40],
        "followed": whole + b"and more",
        "another marker": whole[:scan] + b"\xff\xe0" + whole[scan:],
        "12 bits": whole.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
        "no height": whole.replace(b"\x08\x00\x1e\x00\x28", b"\x08\x00\x00\x00\x28"),
        "no scan": whole[: whole.find(b"\xff\xda")] + b"\xff\xd9",
        "nothing": b"\xff\xd8\xff\xd9",
        "png": b"\x89PNG",
    }
    assert jpeg_header(whole) is not None
    for name, data in others.items():
        assert jpeg_header(data) is None, name
    for name in ("progressive", "cmyk", "followed"):
        (tmp_path / "a.jpg").write_bytes(others[name])
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.jpg"), by_pillow(others[name]))


def test_a_header_that_ends_anywhere_is_none():
    whole = encoded(picture(np.random.default_rng(0), 40, 30))
    for end in range(whole.find(b"\xff\xda") + 12):
        assert jpeg_header(whole[:end] + b"\xff\xd9") is None


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduction_shortens_both_sides_and_keeps_the_colors(reduction):
    data = encoded(picture(np.random.default_rng(0), 160, 96), quality=95)
    found = decode_jpeg(data, reduction)
    size = (160 // reduction, 96 // reduction)
    assert found.shape == (size[1], size[0], 3)
    expected = cv2.resize(by_pillow(data), size, interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - expected).mean() < 3


def test_where_opencv_decodes_otherwise_pillow_does_it(tmp_path, monkeypatch):
    data = encoded(picture(np.random.default_rng(0), 40, 30))
    (tmp_path / "a.jpg").write_bytes(data)
    plain = jpeg._decoded
    monkeypatch.setattr(jpeg, "_decoded", lambda data, flags=0: plain(data, flags) ^ 1)
    jpeg._agrees.cache_clear()
    try:
        assert decode_jpeg(data) is None
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.jpg"), by_pillow(data))
    finally:
        jpeg._agrees.cache_clear()
