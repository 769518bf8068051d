"""Resizing to a window: bit by bit what the installed Pillow gives there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from learned_saliency.datamodules import resampling
from learned_saliency.datamodules.resampling import Window, resize_window

SIDES = st.integers(1, 300)


@pytest.fixture
def forgetful():
    """Forget which rule is Pillow's, before and after."""
    resampling._rule.cache_clear()
    yield
    resampling._rule.cache_clear()


def by_pillow(pixels, edges, window):
    resized = np.asarray(Image.fromarray(pixels).resize(edges, Image.Resampling.BILINEAR))
    left, top, width, height, mirrored = window
    part = resized[top : top + height, left : left + width]
    return part[:, ::-1] if mirrored else part


def test_the_sums_are_used_with_this_pillow():
    assert resampling._rule() is not None


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.booleans(), st.sampled_from(["noise", "edges"]), st.data())
def test_every_window_has_the_pixels_of_pillow(h, w, height, width, mirrored, kind, data):
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    sides = data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top))
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    pixels = generator.integers(0, 256, (h, w, 3), dtype=np.uint8)
    if kind == "edges":  # sums half way between two levels are common
        pixels = np.where(pixels < 128, 0, 255).astype(np.uint8)
    window = Window(left, top, *sides, mirrored)
    found = resize_window(pixels, (width, height), window)
    np.testing.assert_array_equal(found, by_pillow(pixels, (width, height), window))


@pytest.mark.parametrize(
    ("size", "edges"),
    [
        *(((375, 500), (256, 256)), ((500, 375), (256, 256)), ((512, 512), (256, 256))),
        *(((256, 256), (256, 256)), ((256, 300), (256, 256)), ((100, 90), (256, 256))),
        *(((3000, 40), (24, 24)), ((40, 3000), (24, 24)), ((1, 1), (7, 5)), ((2400, 9), (20, 3))),
        *(((1280, 64), (10, 64)), ((64, 4096), (64, 32))),
    ],
)
def test_usual_and_extreme_sizes_have_the_pixels_of_pillow(size, edges):
    generator = np.random.default_rng(0)
    whole = Window(0, 0, *edges)
    for pixels in (
        generator.integers(0, 256, (*size, 3), dtype=np.uint8),
        np.full((*size, 3), 255, np.uint8),
    ):
        found = resize_window(pixels, edges, whole)
        np.testing.assert_array_equal(found, by_pillow(pixels, edges, whole))


def test_images_that_shrink_too_much_are_left_to_pillow(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 1010, 3), dtype=np.uint8)
    monkeypatch.setattr(resampling, "_by_sums", None)
    found = resize_window(pixels, (10, 8), Window(0, 0, 10, 8))
    np.testing.assert_array_equal(found, by_pillow(pixels, (10, 8), Window(0, 0, 10, 8)))


def test_a_window_of_a_part_of_an_array_does_not_change_it():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    part, before = pixels[7:50, 11:70], pixels.copy()
    window = Window(3, 5, 20, 10, mirrored=True)
    found = resize_window(part, (30, 25), window)
    np.testing.assert_array_equal(found, by_pillow(np.ascontiguousarray(part), (30, 25), window))
    np.testing.assert_array_equal(pixels, before)


def test_a_pillow_that_passes_across_first_is_followed(monkeypatch, forgetful):
    def across_first(self, size, resample):
        image = plain(self, (size[0], self.height), resample)
        return plain(image, size, resample)

    plain = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", across_first)
    assert resampling._rule() is resampling._across_first
    pixels = np.random.default_rng(0).integers(0, 256, (90, 40, 3), dtype=np.uint8)
    whole = Window(0, 0, 30, 30)
    np.testing.assert_array_equal(
        resize_window(pixels, (30, 30), whole), by_pillow(pixels, (30, 30), whole)
    )


def test_without_the_kernel_or_with_another_pillow_the_installed_pillow_resizes(
    monkeypatch, forgetful
):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    window = Window(2, 1, 10, 12, mirrored=True)
    expected = by_pillow(pixels, (20, 20), window)

    def missing(*args):
        raise AttributeError("no such kernel")

    def other(*args):
        return plain(*args) + 1

    plain = resampling._sums
    for replaced in (missing, other):
        monkeypatch.setattr(resampling, "_sums", replaced)
        resampling._rule.cache_clear()
        assert resampling._rule() is None
        np.testing.assert_array_equal(resize_window(pixels, (20, 20), window), expected)
