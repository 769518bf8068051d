"""Masks of COCO's annotations, pixel by pixel as pycocotools draws them."""

import numpy as np
import pytest
from pycocotools import mask as oracle

from learned_saliency.datamodules.readers.rle import (
    fill_polygon,
    fill_runs,
    read_segmentation,
    unpack_runs,
)


def test_polygons_cover_the_pixels_that_pycocotools_gives():
    generator = np.random.default_rng(0)
    for number in range(300):
        height, width = generator.integers(1, 60, 2).tolist()
        count = int(generator.integers(3, 12))
        points = generator.uniform(-0.3, 1.3, (count, 2)) * [width, height]
        points = np.round(points) if number % 3 == 0 else points
        if number % 7 == 0:
            points[1] = points[0]  # a corner that is there twice
        flat = points.reshape(-1).tolist()
        expected = oracle.decode(oracle.frPyObjects([flat], height, width))[..., 0]
        np.testing.assert_array_equal(fill_polygon(flat, height, width), expected.astype(bool))


def test_several_polygons_are_one_object():
    square, other = [1, 1, 5, 1, 5, 5, 1, 5], [3, 3, 9, 3, 9, 9, 3, 9]
    both = oracle.merge(oracle.frPyObjects([square, other], 12, 11))
    found = read_segmentation([square, other], 12, 11)
    np.testing.assert_array_equal(found, oracle.decode(both).astype(bool))


def test_packed_and_plain_runs_are_what_pycocotools_packs():
    generator = np.random.default_rng(1)
    for _ in range(200):
        height, width = generator.integers(1, 70, 2).tolist()
        mask = generator.random((height, width)) < generator.random()
        packed = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        about = {"size": [height, width], "counts": packed}
        np.testing.assert_array_equal(read_segmentation(about, height, width), mask)
        plain = about | {"counts": unpack_runs(packed)}
        again = oracle.frPyObjects(plain, height, width)["counts"].decode()
        assert again == packed
        np.testing.assert_array_equal(read_segmentation(plain, height, width), mask)


def test_runs_go_down_the_columns_and_begin_with_background():
    assert fill_runs([1, 2, 3], 2, 3).astype(int).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert fill_runs([0, 6], 2, 3).all()


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "it has no polygon"),
        ("words", "it is neither polygons nor runs"),
        ([[1, 2, 3, 4]], "no list of x and y of 3 points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "no list of x and y"),
        ([[1, 2, 3, 4, 5, "6"]], "no list of x and y"),
        ([[1, 2, 3, 4, 5, float("nan")]], "far out of the image"),
        ([[1, 2, 3, 4, 5, 1e12]], "far out of the image"),
        ([[-9, -9, 15, 20] * 100000], "the outline of a polygon is too long"),
        ({"size": [4, 6], "counts": [24]}, r"its size is \[4, 6\], its image's \[6, 4\]"),
        ({"size": [6, 4], "counts": [25]}, "do not fill 4x6 pixels"),
        ({"size": [6, 4], "counts": [30, -6]}, "do not fill 4x6 pixels"),
        ({"size": [6, 4], "counts": [24.0]}, "do not fill 4x6 pixels"),
        ({"size": [6, 4], "counts": "h"}, "packed runs are cut off"),
        ({"size": [6, 4], "counts": "\u00e4"}, "packed runs are damaged"),
        ({"size": [6, 4], "counts": "o" * 20}, "packed runs are damaged"),
    ],
)
def test_what_is_no_segmentation_is_refused(found, told):
    with pytest.raises(ValueError, match=told):
        read_segmentation(found, 6, 4)
