"""Overlap of boxes, and of contours at all levels: component trees against plain tracing."""

import cv2
import numpy as np
import pytest

from learned_saliency.ops import box_iou, level_boxes, level_ious, overlap
from learned_saliency.ops.backends import compiling, component_trees
from learned_saliency.ops.backends.component_trees import tree_ious
from tests.support.paths import GOLDEN

LOOPS = compiling.compiled_loops("component_trees")
WHOLE = np.array([[0, 0, 10**6, 10**6]])


def boxes_of(generator, height, width, count):
    x = np.sort(generator.integers(0, width, (count, 2)), axis=1)
    y = np.sort(generator.integers(0, height, (count, 2)), axis=1)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def assert_equals_tracing(image, truth=WHOLE):
    """To the last bit, and the largest contour's boxes themselves."""
    largest, every = tree_ious(LOOPS, image, truth)
    traced = overlap._traced_ious(image, truth)
    assert (every == traced[1]).all()
    parts = level_boxes(image, np.arange(image.max()))
    expected = np.concatenate([part.largest for part in parts])
    assert (largest == expected).all()
    assert (level_ious(image, truth) == traced).all()


def test_box_iou_by_hand():
    proposed = np.array([[0, 0, 3, 3], [2, 2, 5, 5], [8, 8, 9, 9]])
    truth = np.array([0, 0, 3, 3])
    np.testing.assert_array_equal(box_iou(proposed, truth), [1, 4 / 28, 0])


@pytest.mark.parametrize("values", [2, 3, 4, 6, 256])
def test_small_maps_equal_tracing(values):
    """Small maps of few values have every kind of tie, nesting and contact with the border."""
    generator = np.random.default_rng(values)
    for _ in range(250):
        height, width = generator.integers(1, 10, 2)
        share = generator.uniform(0.1, 0.9)
        image = generator.integers(0, values, (height, width)).astype(np.uint8)
        image[generator.random(image.shape) < share] = generator.integers(values)
        image.flat[generator.integers(image.size)] = values - 1
        truth = boxes_of(generator, height, width, generator.integers(1, 4))
        assert_equals_tracing(image, truth)


@pytest.mark.parametrize("cells", [7, 20, 60])
def test_smooth_maps_equal_tracing(cells):
    generator = np.random.default_rng(cells)
    for height, width in [(64, 64), (40, 95), (90, 33)]:
        noise = cv2.resize(generator.random((cells, cells)), (width, height), interpolation=2)
        image = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
        assert_equals_tracing(image, boxes_of(generator, height, width, 2))
        assert_equals_tracing(image // 50 * 50, boxes_of(generator, height, width, 1))


def test_a_large_map_of_plateaus_equals_tracing():
    generator = np.random.default_rng(3)
    noise = cv2.resize(generator.random((9, 13)), (900, 600), interpolation=2)
    image = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8) // 30 * 30
    assert_equals_tracing(image, np.array([[100, 90, 500, 480]]))


def test_golden_maps_equal_tracing():
    with np.load(GOLDEN / "box_eval.npz") as golden:
        steps = golden["eight_bit_steps"]
        boxes, of_image = golden["gt_boxes_224"], golden["gt_boxes_image"]
    images = steps.cumsum(2, dtype=np.uint8).cumsum(1, dtype=np.uint8)
    for index in range(9):  # one of each kind
        if images[index].any():
            assert_equals_tracing(images[index], boxes[of_image == index].astype(np.int64))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 257), (254, 3), (3, 254)])
def test_narrow_maps_equal_tracing(shape):
    generator = np.random.default_rng(shape[0])
    for values in (2, 5, 256):
        image = generator.integers(0, values, shape).astype(np.uint8)
        image[0, 0] = values - 1
        assert_equals_tracing(image, boxes_of(generator, *shape, 2))


def test_maps_with_nested_regions_equal_tracing():
    """A disc in a ring in a ring, closed or open, at levels above and below one another."""
    y, x = np.mgrid[:60, :60]
    distance = np.hypot(y - 28, x - 30)
    generator = np.random.default_rng(0)
    for _ in range(30):
        image = generator.permutation(np.arange(0, 240, 20))[(distance // 4).astype(int)]
        image = np.where(generator.random((60, 60)) < 0.02, 250, image).astype(np.uint8)
        image[28, 30:] = generator.integers(256)
        assert_equals_tracing(image, boxes_of(generator, 60, 60, 3))


def test_area_counts_before_order_and_order_from_below_among_equal_areas():
    image = np.zeros((20, 30), np.uint8)
    image[1:4, 1:4] = image[1:4, 12:15] = image[9:12, 4:7] = 9  # area 4 each
    image[15, 2:29] = 9  # no area
    assert_equals_tracing(image)
    assert tree_ious(LOOPS, image, WHOLE)[0][0].tolist() == [4, 9, 7, 12]
    image[1, 15] = 9  # a spike adds no area
    image[0, 1:4] = 9
    assert_equals_tracing(image)
    assert tree_ious(LOOPS, image, WHOLE)[0][0].tolist() == [1, 0, 4, 4]


def test_order_from_above_counts_where_opencv_lists_so(monkeypatch):
    image = np.zeros((9, 9), np.uint8)
    image[1, 1] = image[1, 5] = image[5, 3] = 1
    assert tree_ious(LOOPS, image, WHOLE)[0].tolist() == [[3, 5, 4, 6]]
    monkeypatch.setattr(component_trees, "_direction", lambda: -1)
    assert tree_ious(LOOPS, image, WHOLE)[0].tolist() == [[1, 1, 2, 2]]


def test_a_hole_as_large_as_the_contour_around_it_comes_behind():
    image = np.zeros((9, 9), np.uint8)
    image[[1, 2, 2, 3, 4], [2, 1, 3, 2, 2]] = 5  # a ring of four, and one more below
    traced = cv2.findContours(image, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    assert [cv2.contourArea(contour) for contour in traced] == [2, 2]
    assert_equals_tracing(image)
    assert tree_ious(LOOPS, image, WHOLE)[0][0].tolist() == [1, 1, 4, 5]


def test_what_reaches_the_border_is_no_hole():
    image = np.full((7, 8), 3, np.uint8)
    image[2:5, 3] = 1
    hole = np.array([[2, 1, 5, 6]])
    assert level_ious(image, hole)[1].tolist() == [24 / 56, 1, 1]
    image[0:2, 3] = 0
    assert_equals_tracing(image, hole)
    assert level_ious(image, hole)[1, 1] < 1


def test_a_map_of_a_hundred_true_boxes_equals_tracing():
    generator = np.random.default_rng(5)
    image = generator.integers(0, 256, (40, 50)).astype(np.uint8)
    assert_equals_tracing(image, boxes_of(generator, 40, 50, 100))


def test_a_map_of_zeros_has_one_level():
    truth = np.array([[0, 0, 1, 1]])
    assert level_ious(np.zeros((4, 5), np.uint8), truth).tolist() == [[0.25], [0.25]]


def test_the_map_stays_as_it_is_and_need_not_be_contiguous():
    generator = np.random.default_rng(1)
    wide = generator.integers(0, 256, (30, 80)).astype(np.uint8)
    before = wide.copy()
    truth = np.array([[3, 4, 20, 20]])
    found = level_ious(wide[:, ::2].T, truth)
    assert (wide == before).all()
    assert (found == level_ious(wide[:, ::2].T.copy(), truth)).all()


def test_tracing_stands_in_where_numba_is_switched_off(monkeypatch):
    image = np.random.default_rng(2).integers(0, 256, (20, 20)).astype(np.uint8)
    truth = np.array([[3, 4, 12, 15]])
    found = level_ious(image, truth)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    compiling.compiled_loops.cache_clear()
    calls = []
    plain = overlap._traced_ious
    monkeypatch.setattr(overlap, "_traced_ious", lambda *a: calls.append(1) or plain(*a))
    try:
        assert (level_ious(image, truth) == found).all()
    finally:
        compiling.compiled_loops.cache_clear()
    assert calls == [1]
