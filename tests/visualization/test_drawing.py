"""Pictures of maps: colors, blending, outlines, layouts, files."""

import re

import cv2
import numpy as np
import pytest

from learned_saliency.visualization import (
    COLORMAPS,
    DEFAULT_COLORMAP,
    FOUND_BOX,
    TRUE_BOX,
    colorize,
    encode_png,
    grid,
    overlay,
    side_by_side,
    with_boxes,
    with_caption,
    with_contour,
)
from learned_saliency.visualization.captions import _font, _shortened


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_colors_are_opencv_s_with_red_first():
    levels = np.arange(256, dtype=np.uint8)[None]
    for name in ("turbo", "viridis", "jet"):
        expected = cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{name.upper()}"))
        np.testing.assert_array_equal(colorize(levels / 255, name), expected[..., ::-1])
    assert {"turbo", "viridis", "jet", "inferno"} <= set(COLORMAPS)
    with pytest.raises(ValueError, match=r"colormap must be one of .*viridis.* got 'virdis'"):
        colorize(levels / 255, "virdis")


def test_the_default_color_map_grows_lighter_with_the_value():
    """CIE lightness; the dark red end of turbo looks less salient than its middle."""
    lightness = {}
    for name in (DEFAULT_COLORMAP, "turbo"):
        colors = colorize(np.linspace(0, 1, 256)[None], name).astype(np.float32) / 255
        lightness[name] = cv2.cvtColor(colors, cv2.COLOR_RGB2LAB)[0, :, 0]
    steps = np.diff(lightness[DEFAULT_COLORMAP])
    assert steps.min() > -0.3  # rounding to 8 bits
    assert lightness[DEFAULT_COLORMAP][-1] > 90
    assert lightness["turbo"].argmax() < 200
    np.testing.assert_array_equal(colorize(np.eye(3)), colorize(np.eye(3), DEFAULT_COLORMAP))


def test_opacity_blends_image_and_map(image):
    saliency = np.random.default_rng(1).random((20, 30))
    before = image.copy()
    np.testing.assert_array_equal(overlay(image, saliency, 0.0), image)
    np.testing.assert_array_equal(overlay(image, saliency, 1.0, "jet"), colorize(saliency, "jet"))
    half = overlay(image, saliency, 0.25).astype(int)
    assert np.abs(half - (0.75 * image + 0.25 * colorize(saliency))).max() <= 0.5
    np.testing.assert_array_equal(image, before)


def test_outlines_run_along_the_threshold():
    saliency = np.zeros((20, 30), np.float32)
    saliency[5:15, 8:20] = 0.3
    saliency[7:13, 10:17] = 0.8
    black = np.zeros((20, 30, 3), np.uint8)
    for threshold, (y0, y1, x0, x1) in {0.25: (5, 15, 8, 20), 0.5: (7, 13, 10, 17)}.items():
        drawn = with_contour(black, saliency, threshold, (255, 255, 255))[..., 0] > 127
        border = np.zeros((20, 30), bool)
        border[y0:y1, x0:x1] = True
        border[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = False
        np.testing.assert_array_equal(drawn, border)
    assert not black.any()
    assert not with_contour(black, np.zeros((20, 30), np.float32), 0.5, (255, 255, 255)).any()


def test_boxes_reach_their_corners(image):
    drawn = with_boxes(image, [(2, 3, 29, 19)], (1, 2, 3))
    for x, y in ((2, 3), (29, 3), (2, 19), (29, 19)):
        assert tuple(drawn[y, x]) == (1, 2, 3)
    np.testing.assert_array_equal(drawn[4:19, 3:29], image[4:19, 3:29])


def test_pictures_side_by_side_keep_their_pixels(image):
    sheet = side_by_side([image, image[:, :10]])
    np.testing.assert_array_equal(sheet[:, :30], image)
    np.testing.assert_array_equal(sheet[:, -10:], image[:, :10])
    assert (sheet[:, 30:-10] == 255).all()
    assert sheet.shape[1] > 40


@pytest.mark.parametrize("size", [(20, 30), (300, 400), (1, 1), (7, 2000)])
def test_a_caption_hides_no_pixel(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    lines, legend = ["Chou-fleur d'été 98.3%", "gradcam"], [("predicted box", FOUND_BOX)]
    captioned = with_caption(image, lines, "viridis", legend)
    np.testing.assert_array_equal(captioned[: size[0], : size[1]], image)
    assert captioned.shape[1] >= size[1]
    below = captioned[size[0] :]
    assert (below == FOUND_BOX).all(-1).any()
    for value in (0.1, 0.5, 0.9):  # the bar
        color = colorize(np.array([[value]]), "viridis")[0, 0].astype(int)
        assert (np.abs(below.astype(int) - color).max(-1) <= 12).any()
    bare = with_caption(image, lines)
    assert len(bare) < len(captioned)
    assert ((bare[size[0] :] == 0).all(-1)).any()  # letters
    assert not (bare[size[0] :] == FOUND_BOX).all(-1).any()


def test_a_long_name_loses_its_end_and_keeps_its_probability():
    font = _font(12)
    shown = _shortened("great white shark, man-eating shark 98.3%", 160, font)
    assert re.fullmatch(r"great white sh[ark,]*… 98\.3%", shown)
    assert font.getlength(shown) <= 160
    assert _shortened("one word " + "a" * 100, 160, font).startswith("one word aa")
    assert _shortened("short 98.3%", 160, font) == "short 98.3%"


def test_long_lines_are_shortened_and_keep_their_end():
    long = with_caption(np.zeros((9, 240, 3), np.uint8), ["a" * 100 + " 98.3%"])
    longer = with_caption(np.zeros((9, 240, 3), np.uint8), ["a" * 200 + " 98.3%"])
    other = with_caption(np.zeros((9, 240, 3), np.uint8), ["a" * 200 + " 12.3%"])
    np.testing.assert_array_equal(long, longer)
    assert (long != other).any()
    assert (long[9:, -4:] == 255).all()


def test_grids_have_titles_captions_bar_and_legend(image):
    rows = [[image, image], [image, image]]
    plain = grid(rows, ["a", "b"], cell=60)
    captions = [[["one", "two"], []], [["one", "two"], ["three"]]]
    full = grid(
        rows, ["a", "b"], cell=60, captions=captions, colormap="jet", legend=[("box", TRUE_BOX)]
    )
    assert full.shape[1] == plain.shape[1] == 2 * 64
    shown = cv2.resize(image, (60, 40), interpolation=cv2.INTER_LINEAR)
    for sheet in (plain, full):
        places = [y for y in range(len(sheet) - 40) if (sheet[y : y + 40, :60] == shown).all()]
        assert len(places) == 2
        for y in places:
            np.testing.assert_array_equal(sheet[y : y + 40, 64:124], shown)
    assert (full == TRUE_BOX).all(-1).any()
    assert not (plain == TRUE_BOX).all(-1).any()


def test_png_keeps_colors_and_sixteen_bits(image):
    found = cv2.imdecode(np.frombuffer(encode_png(image), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(found[..., ::-1], image)
    deep = np.random.default_rng(2).integers(0, 65536, (20, 30), dtype=np.uint16)
    found = cv2.imdecode(np.frombuffer(encode_png(deep), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, deep)
