"""Reading of images: every kind comes out as it is meant to be seen, everything else is named."""

import os

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from learned_saliency.pipeline.prediction.images import (
    ImageError,
    pixel_count,
    pixels_of,
    read_pixels,
)

WIDTH, HEIGHT = 12, 7


@pytest.fixture
def colors():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    def save(image, name, **options):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def test_colors_are_read_as_they_are(colors, saved):
    for name in ("a.png", "a.bmp", "a.tif", "a.ppm"):
        path = saved(colors, name)
        np.testing.assert_array_equal(read_pixels(path), colors)
        assert pixel_count(path) == WIDTH * HEIGHT


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(colors, saved, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(colors, f"turned.{kind}", exif=exif)
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    found = read_pixels(path)
    assert found.shape == ((HEIGHT, WIDTH, 3) if orientation < 5 else (WIDTH, HEIGHT, 3))
    np.testing.assert_array_equal(found, expected)


def test_damaged_exif_turns_nothing(colors, saved):
    path = saved(colors, "a.png", exif=b"Exif\x00\x00garbage that is no TIFF header")
    np.testing.assert_array_equal(read_pixels(path), colors)


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


def test_what_is_no_image_is_named(tmp_path, colors, saved):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    for name, reason in {
        "empty.jpg": "is empty",
        "text.png": "no image of a known kind",
        "program.eps": "no image of a known kind",
        "pipe": "no regular file",
        "gone.jpg": "No such file",
        ".": "no regular file",
    }.items():
        with pytest.raises(ImageError, match=reason):
            read_pixels(tmp_path / name)


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
            read(path)
    assert pixel_count(path, 400_000_000) == 400_000_000  # Pillow alone would refuse it
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_same_image_in_any_form(colors, saved):
    path = saved(colors, "a.png")
    for image in (
        path,
        str(path),
        Image.open(path),
        colors,
        colors.astype(np.uint16) * 256,
        colors.astype(np.float32) / 255,
        colors / 255.0,
        np.dstack([colors, np.full_like(colors[..., :1], 255)]),
        torch.from_numpy(colors).permute(2, 0, 1),
        torch.from_numpy(colors).permute(2, 0, 1) / 255,
        (torch.from_numpy(colors).permute(2, 0, 1).double() / 255).requires_grad_(),
    ):
        np.testing.assert_array_equal(pixels_of(image), colors)
    gray = np.repeat(colors[..., :1], 3, 2)
    np.testing.assert_array_equal(pixels_of(colors[..., 0]), gray)
    np.testing.assert_array_equal(pixels_of(torch.from_numpy(colors[None, ..., 0])), gray)


@pytest.mark.parametrize(
    ("image", "kind", "told"),
    [
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"got \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, "with pixels"),
        (np.zeros((8, 8, 3), np.int64), TypeError, "int64"),
        (np.full((8, 8, 3), -0.5), ValueError, r"in \[0, 1\]"),
        (np.full((8, 8, 3), np.nan), ValueError, r"in \[0, 1\]"),
        (np.full((8, 8, 3), 255.0), ValueError, "are normalized here"),
        (torch.zeros(8, 8, 3), ValueError, r"tensor \(3, H, W\)"),
        (7, TypeError, "got int"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_what_stands_for_no_image_is_refused(image, kind, told):
    with pytest.raises(kind, match=told):
        pixels_of(image)
