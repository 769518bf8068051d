import cv2
import numpy as np
import pytest

from learned_saliency.ops import contours
from learned_saliency.ops.contours import level_boxes


def plain_level(image, level):
    """Box of the largest contour and sorted boxes of all, one contour at a time."""
    height, width = image.shape
    binary = (image > level).astype(np.uint8)
    found = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    boxes = []
    for contour in found:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
    largest = max(range(len(found)), key=lambda index: cv2.contourArea(found[index]))
    return boxes[largest], sorted(boxes)


def assert_equals_plain(image, levels):
    parts = list(level_boxes(image, levels))
    largest = np.concatenate([part.largest for part in parts])
    every = [np.split(part.boxes, part.starts[1:]) for part in parts]
    every = [boxes for part in every for boxes in part]
    assert len(largest) == len(every) == len(levels)
    for index, level in enumerate(levels):
        box, boxes = plain_level(image, level)
        assert largest[index].tolist() == box
        assert sorted(every[index].tolist()) == boxes


@pytest.fixture(params=[0, 10**9, 6], ids=["labeled", "traced", "mixed"])
def _dense(request, monkeypatch):
    monkeypatch.setattr(contours, "_DENSE", request.param)
    monkeypatch.setattr(contours, "_CANDIDATES", 3)


@pytest.mark.usefixtures("_dense")
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (13, 17), (30, 21)])
@pytest.mark.parametrize("values", [2, 5, 256])
def test_boxes_equal_those_of_plain_tracing(shape, values):
    generator = np.random.default_rng(sum(shape) + values)
    for _ in range(12):
        image = generator.integers(0, values, shape).astype(np.uint8)
        image.flat[generator.integers(image.size)] = values - 1
        assert_equals_plain(image, np.arange(-1, values - 1, 1 + values // 40))


@pytest.mark.usefixtures("_dense")
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_boxes_of_blobs_rings_and_islands_equal_those_of_plain_tracing(size):
    generator = np.random.default_rng(size)
    for _ in range(10):
        noise = cv2.blur(generator.random((40, 45)), (size, size))
        image = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
        image[5:35, 5:35] = np.where(generator.random((30, 30)) < 0.5, 200, image[5:35, 5:35])
        image[0, 0] = 255
        assert_equals_plain(image, np.arange(-1, 255, 15))


def test_dense_levels_of_a_full_size_map_equal_plain_tracing():
    generator = np.random.default_rng(0)
    image = generator.integers(0, 200, (224, 224)).astype(np.uint8)
    image[50:120, 60:200] = np.linspace(0, 255, 140).astype(np.uint8)
    assert_equals_plain(image, np.arange(5, 255, 25))


def test_one_pixel_region_ends_one_pixel_further_except_at_the_border():
    image = np.zeros((6, 8), np.uint8)
    image[2, 3] = 9
    (part,) = level_boxes(image, np.array([0]))
    assert part.boxes.tolist() == part.largest.tolist() == [[3, 2, 4, 3]]
    image = np.zeros((6, 8), np.uint8)
    image[5, 7] = 9
    (part,) = level_boxes(image, np.array([0]))
    assert part.boxes.tolist() == [[7, 5, 7, 5]]


def test_border_of_a_hole_is_a_contour_on_the_pixels_around_it():
    image = np.zeros((12, 12), np.uint8)
    image[1:10, 1:10] = 7
    image[4:6, 4:7] = 0
    (part,) = level_boxes(image, np.array([3]))
    assert sorted(part.boxes.tolist()) == [[1, 1, 10, 10], [3, 3, 8, 7]]
    assert part.largest.tolist() == [[1, 1, 10, 10]]


def test_largest_contour_is_by_polygon_area_not_by_pixels():
    image = np.zeros((20, 20), np.uint8)
    image[1, 1:19] = 1  # 18 pixels, no area
    image[5:8, 5:8] = 1  # 9 pixels, area 4
    (part,) = level_boxes(image, np.array([0]))
    assert part.largest.tolist() == [[5, 5, 8, 8]]


def test_map_of_zeros_gets_the_box_of_zeros():
    (part,) = level_boxes(np.zeros((5, 7), np.uint8), np.array([0]))
    assert part.largest.tolist() == part.boxes.tolist() == [[0, 0, 0, 0]]
