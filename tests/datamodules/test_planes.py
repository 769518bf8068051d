"""Images of any number of channels keep the depth of their files."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import (
    Decoding,
    ImageError,
    ImageFormError,
    levels,
    planes_of,
    read_header,
    read_image,
    read_pixels,
)
from learned_saliency.datamodules.arrays import read_array_header
from learned_saliency.datamodules.decoding import turned
from learned_saliency.datamodules.planes import pixel_count, turned_array
from tests.support.deep_images import write_image

DEEP = np.random.default_rng(0).integers(0, 65536, (9, 7, 12), dtype=np.uint16)
WHITE = 65535 / 255


def check(path, wanted, form, **options):
    """The pixels of a file, (H, W, C), and what its header says."""
    decoding = Decoding(channels=wanted.shape[2], **options)
    header = read_header(path, decoding=decoding)
    assert (header.form, header.height, header.width) == (form, *wanted.shape[:2])
    found = read_image(path, decoding=decoding)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert pixel_count(path, decoding=decoding) == wanted[..., 0].size


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_gray_files_of_16_bits_keep_them_all(tmp_path, kind):
    gray = DEEP[..., 0]
    Image.fromarray(gray).save(tmp_path / f"gray.{kind}")
    check(tmp_path / f"gray.{kind}", gray[..., None] / WHITE, "1 channel, 16-bit")
    told = gray[..., None] * (255 / 40000)  # what lies beyond the declared white stays beyond
    check(tmp_path / f"gray.{kind}", told, "1 channel, 16-bit", max_value=40000)


def test_8_bits_1_bit_and_floats_are_read_as_they_are(tmp_path):
    gray = (DEEP[..., 0] >> 8).astype(np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    check(tmp_path / "gray.png", gray[..., None].astype(float), "1 channel, 8-bit")
    Image.fromarray(gray > 99).save(tmp_path / "bits.png")
    check(tmp_path / "bits.png", 255.0 * (gray > 99)[..., None], "1 channel, 1-bit")
    Image.fromarray(gray.astype(np.float32) / 255).save(tmp_path / "float.tif")
    check(tmp_path / "float.tif", gray[..., None].astype(float), "1 channel, 32-bit float")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_fourth_channel_is_data_like_the_others(tmp_path, suffix, dtype):
    if suffix == ".tif":
        pytest.importorskip("tifffile")
    bits = 8 * np.dtype(dtype).itemsize
    values = (DEEP[..., :4] >> (16 - bits)).astype(dtype)
    write_image(tmp_path / f"four{suffix}", values)
    wanted = values * (255 / np.iinfo(dtype).max)
    check(tmp_path / f"four{suffix}", wanted, f"4 channels, {bits}-bit")


@pytest.mark.parametrize("channels", [2, 5, 12])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiffs_of_any_number_of_channels(tmp_path, channels, planar):
    tifffile = pytest.importorskip("tifffile")
    values = DEEP[..., :channels]
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    options = {"photometric": "minisblack", "planarconfig": planar, "compression": "zlib"}
    tifffile.imwrite(tmp_path / "deep.tif", stored, **options)
    check(tmp_path / "deep.tif", values / WHITE, f"{channels} channels, 16-bit")
    tifffile.imwrite(tmp_path / "float.tif", stored.astype(np.float32) / 65535, **options)
    check(tmp_path / "float.tif", values / WHITE, f"{channels} channels, 32-bit float")


def test_arrays_have_channels_last_or_as_it_is_declared(tmp_path):
    np.save(tmp_path / "last.npy", DEEP)
    check(tmp_path / "last.npy", DEEP / WHITE, "12 channels, 16-bit")
    np.save(tmp_path / "first.npy", np.asfortranarray(DEEP.transpose(2, 0, 1)))
    check(tmp_path / "first.npy", DEEP / WHITE, "12 channels, 16-bit", array_axes="chw")
    np.save(tmp_path / "flat.npy", DEEP[..., 0])
    check(tmp_path / "flat.npy", DEEP[..., :1] / WHITE, "1 channel, 16-bit")


@pytest.mark.parametrize("seen", [False, True])
def test_orientation_turns_tiffs_of_both_readers_alike(tmp_path, seen):
    tifffile = pytest.importorskip("tifffile")
    values = DEEP[:3, :5, :2].astype(np.uint8)
    for orientation in range(1, 9):
        tag = [(274, "H", 1, orientation, True)]
        options = {"photometric": "minisblack", "planarconfig": "contig", "extratags": tag}
        tifffile.imwrite(tmp_path / "two.tif", values, **options)
        Image.fromarray(values[..., 0]).save(tmp_path / "one.tif", tiffinfo={274: orientation})
        shapes = []
        for name, channels in (("one.tif", 1), ("two.tif", 2)):
            decoding = Decoding(seen, channels=channels)
            shapes.append(read_image(tmp_path / name, decoding=decoding)[..., 0])
            size = read_header(tmp_path / name, decoding=decoding).size(seen)
            assert size == shapes[-1].shape[::-1]
        np.testing.assert_array_equal(*shapes)
        plain = np.asarray(turned(Image.fromarray(values[..., 0]), orientation if seen else 1))
        np.testing.assert_array_equal(shapes[0], plain)


def test_arrays_turn_as_pillow_turns_images():
    values = DEEP[..., :1].astype(np.uint8)
    for orientation in range(1, 9):
        wanted = np.asarray(turned(Image.fromarray(values[..., 0]), orientation))
        np.testing.assert_array_equal(turned_array(values, orientation)[..., 0], wanted)


@pytest.mark.parametrize(
    ("mode", "channels", "found"),
    [
        ("RGB", 1, "has 3 channels, not 1 as data.channels=1 says; convert it or leave it out"),
        ("L", 4, "has 1 channel, not 4 as data.channels=4 says"),
        ("P", 1, "has a palette of colors, not 1"),
        ("LA", 1, "has 2 channels, not 1"),
    ],
)
def test_a_file_of_another_number_of_channels_is_refused(tmp_path, mode, channels, found):
    Image.new(mode, (4, 4)).save(tmp_path / "image.png")
    with pytest.raises(ImageFormError, match=found):
        read_image(tmp_path / "image.png", decoding=Decoding(channels=channels))


def test_what_is_white_is_never_guessed(tmp_path):
    np.save(tmp_path / "long.npy", np.array([[0, 70000]], np.int64))
    np.save(tmp_path / "float.npy", np.array([[-0.5, 2.0]]))
    for name, told in (("long", "64-bit values from 0 to 70000"), ("float", "from -0.5 to 2")):
        with pytest.raises(ImageFormError, match=f"{told}, but which one is white.*data.max_value"):
            read_image(tmp_path / f"{name}.npy", decoding=Decoding(channels=1))
    found = read_image(tmp_path / "float.npy", decoding=Decoding(max_value=2, channels=1))
    np.testing.assert_array_equal(found[..., 0], [[-63.75, 255]])
    with pytest.raises(ImageError, match="no finite numbers"):
        levels(np.array([np.nan]), 1)


def test_arrays_run_no_code_and_are_looked_at_before_they_are_read(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{}], object))
    np.save(tmp_path / "cut.npy", DEEP)
    content = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:300])
    np.save(tmp_path / "line.npy", np.zeros(5))
    (tmp_path / "spoilt.npy").write_bytes(content[:40] + b"\0" * 60)
    found = {"object": "of object", "cut": "cut off", "line": "shape 5, no image"}
    for name, told in (found | {"spoilt": "no .npy file"}).items():
        with pytest.raises(ImageError, match=told):
            read_image(tmp_path / f"{name}.npy", decoding=Decoding(channels=12))
    header = b"\x93NUMPY\x01\x00v\x00"
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}"
    (tmp_path / "huge.npy").write_bytes(header + text.ljust(117).encode() + b"\n")
    with pytest.raises(ImageError, match="megapixels"):
        read_image(tmp_path / "huge.npy", decoding=Decoding(channels=1))
    with pytest.raises(ImageError, match=r"no \.npy file"):
        read_array_header(io.BytesIO(b"\x93NUMPY"), "hwc")


def test_three_channels_are_read_as_before(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), DEEP[..., :3])
    found = read_image(tmp_path / "deep.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, read_pixels(tmp_path / "deep.png"))
    np.save(tmp_path / "colors.npy", DEEP[..., :3])
    with pytest.raises(ImageError, match="no image of a known kind"):
        read_image(tmp_path / "colors.npy")


def test_images_of_pillow_keep_their_depth_or_are_refused(tmp_path):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "gray.png")
    with Image.open(tmp_path / "gray.png") as image:
        found = planes_of(image, Decoding(channels=1))
    np.testing.assert_allclose(found, DEEP[..., :1] / WHITE, atol=2e-5)
    write_image(tmp_path / "four.png", DEEP[..., :4])
    with (
        Image.open(tmp_path / "four.png") as image,
        pytest.raises(ImageFormError, match="which Pillow cuts; hand over its path"),
    ):
        planes_of(image, Decoding(channels=4))
