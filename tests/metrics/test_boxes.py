import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from learned_saliency.metrics.boxes import (
    IOU_THRESHOLDS,
    THRESHOLDS,
    best_ious,
    boxes_from_saliency,
    largest_regions,
)
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = FOLDER / "box_eval.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden_maps(golden):
    """Maps whose 8-bit values are those of all 24 maps, in the middle of each step."""
    rows = golden["eight_bit_steps"].cumsum(2, dtype=np.uint8)
    eight_bit = torch.from_numpy(rows.cumsum(1, dtype=np.uint8))
    return ((eight_bit + 0.5) / 255).clamp(max=1)


@pytest.fixture(scope="module")
def golden_boxes(golden):
    boxes = torch.from_numpy(golden["gt_boxes_224"])
    images = torch.from_numpy(golden["gt_boxes_image"])
    return [boxes[images == index] for index in range(24)]


def plain_best_ious(saliency, boxes):
    """The benchmark's loop: threshold by threshold, contour by contour, box by box."""
    height, width = saliency.shape
    image = (saliency.astype(np.float64) * 255).astype(np.uint8)
    best = np.zeros((2, 1000))
    for step, threshold in enumerate(np.arange(0, 1, 0.001)):
        binary = (image > int(threshold * image.max())).astype(np.uint8)
        found = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        ious = [0.0] if found else [max(plain_iou((0, 0, 0, 0), box) for box in boxes)]
        ious = ious if not found else []
        for contour in found:
            x, y, w, h = cv2.boundingRect(contour)
            proposed = x, y, min(x + w, width - 1), min(y + h, height - 1)
            ious.append(max(plain_iou(proposed, box) for box in boxes))
        areas = [cv2.contourArea(contour) for contour in found] or [0]
        best[:, step] = ious[areas.index(max(areas))], max(ious)
    return best


def plain_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_best_ious_equal_the_published_evaluator(golden, golden_maps, golden_boxes):
    ious = best_ious(golden_maps, golden_boxes)
    for index, name in enumerate(("single", "multi")):
        expected = torch.from_numpy(golden[f"best_iou_{name}"])
        torch.testing.assert_close(ious[:, index], expected, rtol=0, atol=1e-12)
        for iou in IOU_THRESHOLDS:
            counts = (ious[:, index] >= iou).sum(0).numpy()
            assert (counts == golden[f"num_correct_{name}_{round(100 * iou)}"]).all()


def test_float32_maps_are_cut_to_8_bits_as_published(golden, golden_maps, golden_boxes):
    maps = torch.from_numpy(golden["scoremap_0"])[None]
    torch.testing.assert_close(
        best_ious(maps, golden_boxes[:1]), best_ious(golden_maps[:1], golden_boxes[:1])
    )


@pytest.mark.parametrize(
    ("value", "dtype"), [(51 / 255 - 1e-12, torch.float64), (0.199951171875, torch.float16)]
)
def test_8_bit_step_is_taken_in_float64(value, dtype):
    saliency = torch.zeros(1, 10, 10, dtype=dtype)
    saliency[0, 2:5, 2:5] = 1
    saliency[0, 6:8, 6:8] = value
    exact = int(saliency[0, 6, 6].double() * 255)
    narrow = torch.float16 if dtype == torch.float16 else torch.float32
    assert int(saliency[0, 6, 6].to(narrow) * 255) == exact + 1
    ious = best_ious(saliency, [torch.tensor([[6, 6, 8, 8]])])[0, 1]
    above = torch.from_numpy((THRESHOLDS * 255).astype(np.int64)) < exact
    assert (ious[above] == 1).all()
    assert (ious[~above] == 0).all()


def test_boxes_from_saliency_equal_the_published_boxes(golden, golden_maps):
    for step in (0, 1, 77, 250, 333, 500, 640, 999):
        boxes = boxes_from_saliency(golden_maps, float(THRESHOLDS[step]))
        assert boxes.dtype == torch.int64
        assert (boxes.numpy() == golden["box_single"][:, step]).all()


@pytest.mark.parametrize("shape", [(1, 6), (12, 12), (9, 23)])
def test_best_ious_equal_the_plain_loop_on_maps_of_any_size(shape):
    generator = torch.Generator().manual_seed(sum(shape))
    saliency = torch.rand(4, *shape, generator=generator) ** 2
    saliency[1] = (saliency[1] > 0.4).float()
    saliency[2] *= 0.3
    height, width = shape
    boxes = [
        torch.tensor([[0, 0, width // 2, height // 2], [width // 3, 0, width - 1, height - 1]]),
        torch.tensor([[0, 0, 0, 0]]),
        torch.tensor([[1, 0, width - 2, height - 1]], dtype=torch.int32),
        torch.tensor([[2, 0, 3, 0], [0, 0, 1, 0], [width - 1, height - 1, width - 1, height - 1]]),
    ]
    expected = [
        plain_best_ious(image.numpy(), image_boxes.tolist())
        for image, image_boxes in zip(saliency, boxes, strict=True)
    ]
    found = best_ious(saliency, boxes)
    torch.testing.assert_close(found, torch.from_numpy(np.stack(expected)), rtol=0, atol=1e-15)


@pytest.mark.parametrize("value", [0.0, 0.002, 0.5, 1.0])
def test_constant_maps_equal_the_plain_loop(value):
    saliency = torch.full((1, 8, 10), value, dtype=torch.float64)
    box = torch.tensor([[0, 0, 6, 7]])
    expected = plain_best_ious(saliency[0].numpy(), box.tolist())
    torch.testing.assert_close(best_ious(saliency, [box])[0], torch.from_numpy(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_best_ious_of_other_types_equal_those_of_the_widened_map(dtype):
    saliency = torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    boxes = [torch.tensor([[2, 2, 9, 9]])] * 2
    wide = best_ious(saliency.double(), boxes)
    torch.testing.assert_close(best_ious(saliency.requires_grad_(), boxes), wide)


def test_threads_do_not_change_the_result():
    saliency = torch.rand(5, 20, 20, generator=torch.Generator().manual_seed(0))
    boxes = [torch.tensor([[2, 2 + index, 15, 15]]) for index in range(5)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = best_ious(saliency, boxes)
        torch.set_num_threads(3)
        three = best_ious(saliency, boxes)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(three, one, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("saliency", "boxes", "error", "message"),
    [
        (torch.ones(1, 4, 4, dtype=torch.uint8), [[[0, 0, 1, 1]]], TypeError, "floating"),
        (torch.ones(4, 4), [[[0, 0, 1, 1]]], ValueError, r"\(B, H, W\)"),
        (torch.ones(0, 4, 4), [], ValueError, "non-empty"),
        (torch.full((1, 4, 4), 1.5), [[[0, 0, 1, 1]]], ValueError, r"in \[0, 1\]"),
        (torch.full((1, 4, 4), torch.nan), [[[0, 0, 1, 1]]], ValueError, r"in \[0, 1\]"),
        (torch.ones(2, 4, 4), [[[0, 0, 1, 1]]], ValueError, "2 images, got 1"),
        (torch.ones(1, 4, 4), [[[0.0, 0, 1, 1]]], TypeError, "image 0 must be integers"),
        (torch.ones(1, 4, 4), [[[0, 0, 1]]], ValueError, r"\(n, 4\)"),
        (torch.ones(1, 4, 4), [[[3, 0, 1, 1]]], ValueError, "ends before it begins"),
    ],
)
def test_best_ious_refuses_bad_input(saliency, boxes, error, message):
    with pytest.raises(error, match=message):
        best_ious(saliency, [torch.as_tensor(image_boxes) for image_boxes in boxes])


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_boxes_from_saliency_refuses_a_threshold_outside_its_range(threshold):
    with pytest.raises(ValueError, match="threshold must be in"):
        boxes_from_saliency(torch.ones(1, 3, 3), threshold)


@pytest.mark.parametrize("seed", range(5))
def test_largest_regions_are_what_the_boxes_are_drawn_around(seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(6, 17, 23, generator=generator) ** (1 + seed)
    maps[0] = 0
    for threshold in (0.0, 0.3, 0.8):
        boxes = boxes_from_saliency(maps, threshold)
        regions = largest_regions(maps, threshold)
        assert not regions[0].any()
        for saliency, box, found in zip(maps[1:], boxes[1:], regions[1:], strict=True):
            levels = (saliency.double() * 255).to(torch.uint8)
            above = levels > int(threshold * int(levels.max()))
            labels, count = ndimage.label(above, np.ones((3, 3)))
            (label,) = np.unique(labels[found.numpy()])
            np.testing.assert_array_equal(labels == label, found)
            assert 1 <= label <= count
            rows, columns = np.nonzero(found.numpy())
            far = min(columns.max() + 1, 22), min(rows.max() + 1, 16)
            assert box.tolist() == [columns.min(), rows.min(), *far]
