"""Reading of images: every kind comes out as it is meant to be seen, everything else is named."""

import os
import socket
import struct
import subprocess

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from learned_saliency.datamodules import DataError, Decoding, ImageError, pixel_count, read_pixels
from learned_saliency.datamodules.checks import read_sizes
from learned_saliency.datamodules.dataset import ImageOptions, TrainDataset
from learned_saliency.datamodules.evaluation_dataset import EvaluationDataset
from learned_saliency.datamodules.masks import read_object
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.transforms import read_resized
from learned_saliency.pipeline.prediction.images import pixels_of

AS_SEEN = Decoding(exif_orientation=True)
WIDTH, HEIGHT = 12, 7


def test_colors_are_read_as_they_are(colors, saved):
    for name in ("a.png", "a.bmp", "a.tif", "a.ppm"):
        path = saved(colors, name)
        np.testing.assert_array_equal(read_pixels(path), colors)
        assert pixel_count(path) == WIDTH * HEIGHT


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_where_declared_and_never_elsewhere(
    colors, saved, kind, orientation
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(colors, f"turned.{kind}", exif=exif, **options)
    stored = np.asarray(Image.open(saved(colors, f"plain.{kind}", **options)))
    np.testing.assert_array_equal(read_pixels(path), stored)
    with Image.open(path) as image:
        seen = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert seen.shape == ((HEIGHT, WIDTH, 3) if orientation < 5 else (WIDTH, HEIGHT, 3))
    np.testing.assert_array_equal(read_pixels(path, decoding=AS_SEEN), seen)
    for decoding, pixels in ((AS_SEEN, seen), (Decoding(), stored)):
        sizes, broken = read_sizes([path], decoding)
        assert (sizes.tolist(), broken) == ([[pixels.shape[1], pixels.shape[0]]], {})


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_an_uncompressed_tiff_is_turned_in_every_mode(colors, saved, mode, orientation):
    if mode == "I;16":
        image = Image.fromarray(colors[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(colors).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = read_pixels(saved(image, "plain.tif"))
    path = saved(image, "turned.tif", exif=exif)
    np.testing.assert_array_equal(read_pixels(path), stored)
    upright = Image.fromarray(stored)
    upright.getexif()[0x0112] = orientation
    seen = np.asarray(ImageOps.exif_transpose(upright))
    np.testing.assert_array_equal(read_pixels(path, decoding=AS_SEEN), seen)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(colors, saved, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(colors, "a.png", exif=exif)
    np.testing.assert_array_equal(read_pixels(path, decoding=AS_SEEN), colors)
    assert read_sizes([path], AS_SEEN)[0].tolist() == [[WIDTH, HEIGHT]]


def test_damaged_exif_turns_nothing(colors, saved):
    path = saved(colors, "a.png", exif=b"Exif\x00\x00garbage that is no TIFF header")
    np.testing.assert_array_equal(read_pixels(path, decoding=AS_SEEN), colors)


def test_transparency_shows_white(colors, saved):
    alpha = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    path = saved(np.concatenate([colors, alpha], 2), "alpha.png")
    share = alpha / 255.0
    expected = colors * share + 255 * (1 - share)
    assert np.abs(read_pixels(path) - expected).max() <= 1
    gray = np.concatenate([colors[..., :1], alpha], 2)
    path = saved(Image.fromarray(gray, "LA"), "la.png")
    expected = colors[..., :1] * share + 255 * (1 - share)
    assert np.abs(read_pixels(path) - expected).max() <= 1


def test_a_transparent_palette_color_shows_white(saved):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 200])
    expected = [[[10, 20, 30], [255, 255, 255]], [[0, 0, 200], [255, 255, 255]]]
    for name in ("a.png", "a.gif"):
        np.testing.assert_array_equal(read_pixels(saved(image, name, transparency=1)), expected)


def test_gray_of_any_depth(colors, saved):
    gray = colors[..., 0].copy()
    gray[0, :2] = 0, 255  # floats show by their maximum what range they are of
    wide = gray.astype(np.uint16) * 256 + 77
    for name, values in {
        "8.png": gray,
        "16.png": wide,
        "16.tif": wide,
        "32.tif": wide.astype(np.int32),
        "float255.tif": gray.astype(np.float32),
        "float1.tif": gray.astype(np.float32) / 255,
    }.items():
        found = read_pixels(saved(values, name))
        np.testing.assert_array_equal(found, np.repeat(gray[..., None], 3, 2), err_msg=name)


def test_floats_of_another_range_are_stretched(saved):
    values = np.array([[-1000.0, 0.0], [500.0, 1000.0]], np.float32)
    found = read_pixels(saved(values, "a.tif"))[..., 0]
    np.testing.assert_array_equal(found, [[0, 128], [191, 255]])
    assert not read_pixels(saved(np.full((2, 2), -5.0, np.float32), "b.tif")).any()
    with pytest.raises(ImageError, match="no finite numbers"):
        read_pixels(saved(np.full((2, 2), np.nan, np.float32), "c.tif"))


def test_black_and_white_and_cmyk(colors, saved):
    bits = np.array([[0, 255], [255, 0]], np.uint8)
    path = saved(Image.fromarray(bits).convert("1"), "a.png")
    np.testing.assert_array_equal(read_pixels(path), np.repeat(bits[..., None], 3, 2))
    path = saved(Image.fromarray(colors).convert("CMYK"), "a.tif")
    np.testing.assert_array_equal(read_pixels(path), colors)
    flat = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    path = saved(Image.fromarray(flat).convert("CMYK"), "a.jpg")
    assert np.abs(read_pixels(path).astype(int) - flat).max() <= 4  # JPEG


def test_of_several_frames_the_first_counts(saved):
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "blue")]
    for name in ("a.gif", "a.tif", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = saved(frames[0], name, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(read_pixels(path)[0, 0], (255, 0, 0))


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.png"))
        for name, reason in {
            "empty.jpg": "is empty",
            "text.png": "no image of a known kind",
            "pipe.png": "no regular file, but a pipe",
            "socket.png": "no regular file, but a socket",
            "zero.png": "no regular file, but a device",
            "gone.jpg": "No such file",
            ".": "no regular file, but a folder",
        }.items():
            with pytest.raises(ImageError, match=reason):
                read_pixels(tmp_path / name)
            with pytest.raises(ImageError, match=reason):
                pixel_count(tmp_path / name)
            with pytest.raises(ImageError, match=reason):
                read_object(tmp_path / name)


def test_formats_that_start_another_program_are_no_images(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    for name in ("program.eps", "program.png", "program.jpg"):
        header = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
        (tmp_path / name).write_bytes(header)
        with Image.open(tmp_path / name) as image:
            assert image.format == "EPS"  # Pillow alone takes it
        for read in (read_pixels, read_object, pixel_count):
            with pytest.raises(ImageError, match="no image of a known kind"):
                read(tmp_path / name)
        with pytest.raises(DataError, match=f"{name}: the image does not decode"):
            read_resized(tmp_path / name, 8)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tif", "webp", "bmp", "jp2"])
def test_damaged_files_are_read_or_named_but_raise_nothing_else(tmp_path, colors, saved, kind):
    whole = saved(colors.repeat(8, 0).repeat(8, 1), f"whole.{kind}").read_bytes()
    generator = np.random.default_rng(0)
    named = 0
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            damaged = damaged[: generator.integers(1, len(whole))]
        else:
            for place in generator.integers(0, len(whole), 8):
                damaged[place] = generator.integers(256)
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(damaged)
        try:
            assert read_pixels(path, 1_000_000).dtype == np.uint8
        except ImageError:
            named += 1
    assert named > 10


def test_large_images_are_refused_by_their_header(tmp_path, saved):
    limit = Image.MAX_IMAGE_PIXELS
    path = saved(Image.new("1", (20000, 20000)), "huge.png")
    for read in (read_pixels, pixel_count):
        with pytest.raises(ImageError, match="20000 x 20000 are 400 megapixels, more than the 100"):
            read(path, 100_000_000)
    with pytest.raises(DataError, match=r"more than the 178\.96"):
        read_resized(path, 8)
    assert pixel_count(path, 400_000_000) == 400_000_000  # Pillow alone would refuse it
    assert limit == Image.MAX_IMAGE_PIXELS


def tiff_of_12_bits(values: list[int]) -> bytes:
    """Write a row of an even number of values as a TIFF of 12 bits per sample."""
    pairs = zip(values[::2], values[1::2], strict=True)
    data = b"".join((a << 12 | b).to_bytes(3, "big") for a, b in pairs)
    tags = {256: len(values), 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1}
    tags[279] = len(data)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(data))
    return header + data + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def test_white_is_the_largest_value_that_the_file_states(tmp_path):
    (tmp_path / "12.tif").write_bytes(tiff_of_12_bits([0, 2048, 4095, 1024]))
    assert read_pixels(tmp_path / "12.tif")[0, :, 0].tolist() == [0, 128, 255, 64]
    row = struct.pack(">4H", 0, 2048, 4095, 1024)
    (tmp_path / "12.pgm").write_bytes(b"P5 4 1 4095\n" + row)
    assert read_pixels(tmp_path / "12.pgm")[0, :, 0].tolist() == [0, 128, 255, 64]
    (tmp_path / "dark.pgm").write_bytes(b"P5 4 1 65535\n" + struct.pack(">4H", 0, 9, 90, 255))
    assert not read_pixels(tmp_path / "dark.pgm").any()


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_white_is_the_value_that_the_data_set_declares(tmp_path, kind, channels):
    values = np.random.default_rng(0).integers(0, 4096, (6, 9, channels)).astype(np.uint16)
    values[..., 3:] = 65535
    cv2.imwrite(str(tmp_path / f"deep.{kind}"), values.squeeze())
    found = read_pixels(tmp_path / f"deep.{kind}", decoding=Decoding(max_value=4095))
    expected = (values[..., 2::-1] if channels > 1 else values.repeat(3, 2)) >> 4
    np.testing.assert_array_equal(found, expected)
    plain = read_pixels(tmp_path / f"deep.{kind}")
    np.testing.assert_array_equal(plain, expected >> 4)


def test_integers_of_32_bits_and_below_zero(saved):
    wide = np.array([[0, 1 << 30, (1 << 31) - 1]], np.int32)
    assert read_pixels(saved(wide, "a.tif"))[0, :, 0].tolist() == [0, 128, 255]
    below = np.array([[-100, 0, 100]], np.int32)
    assert read_pixels(saved(below, "b.tif"))[0, :, 0].tolist() == [0, 128, 255]


def test_a_gray_image_of_16_bits_may_have_a_transparent_value(saved):
    values = np.array([[0, 300, 40000]], np.uint16)
    found = read_pixels(saved(values, "a.png", transparency=300))
    assert found[0, :, 0].tolist() == [0, 255, 40000 >> 8]


@pytest.mark.parametrize(
    "name", ["gray.png", "i16.png", "i32.tif", "float.tif", "cmyk.tif", "rgba.png", "palette.gif"]
)
def test_training_evaluation_and_prediction_see_the_same_pixels(tmp_path, name):
    gray = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    gray[0, :2] = 0, 255
    wide = gray.astype(np.int32) * 257
    image = {
        "gray.png": Image.fromarray(gray),
        "i16.png": Image.fromarray(wide.astype(np.uint16)),
        "i32.tif": Image.fromarray(wide),
        "float.tif": Image.fromarray(gray.astype(np.float32) / 255),
        "cmyk.tif": Image.fromarray(gray).convert("RGB").convert("CMYK"),
        "rgba.png": Image.fromarray(np.dstack([gray] * 4)),
        "palette.gif": Image.fromarray(gray).convert("P"),
    }[name]
    image.save(tmp_path / name)
    level = gray * (gray / 255.0) + 255 - gray if name == "rgba.png" else gray
    seen = read_pixels(tmp_path / name, decoding=AS_SEEN)
    assert np.abs(seen - level[..., None].astype(float)).max() <= 1
    metadata = SplitMetadata(tmp_path, [name], np.zeros(1, np.int64))
    options = {"size": 16, "options": ImageOptions((0, 0, 0), (1, 1, 1))}
    evaluated = EvaluationDataset(metadata, tmp_path, tmp_path, **options).__getitems__([0])
    trained = TrainDataset(metadata, tmp_path, crop_size=16, **options).__getitems__([(0, 0)])
    for batch in (evaluated, trained):
        np.testing.assert_allclose(batch["image"][0].permute(1, 2, 0) * 255, seen, atol=1e-3)
    np.testing.assert_array_equal(pixels_of(tmp_path / name), seen)
