import numpy as np
import pytest
import torch

from learned_saliency.metrics import (
    MaskLocalization,
    binarize,
    largest_component_boxes,
    overlap_with_boxes,
)
from tests.support.degenerate_maps import collate_boxes, maps_with_boxes
from tests.support.paths import GOLDEN


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "casm.npz") as arrays:
        found = {k: torch.from_numpy(arrays[k]) for k in arrays.files if k.startswith("eval_")}
    found["boxes"] = [box[None].long() for box in found["eval_gt"]]
    return found


def test_binary_maps_boxes_f1_and_hits_are_the_golden_ones(golden):
    saliency = golden["eval_mask"][:, 0]
    binary = binarize(saliency)
    torch.testing.assert_close(binary, golden["eval_binary"][:, 0], rtol=0, atol=0)
    boxes = largest_component_boxes(binary)
    torch.testing.assert_close(boxes, golden["eval_box"].long(), rtol=0, atol=0)
    iou, f1 = overlap_with_boxes(saliency, golden["boxes"])
    # recorded with maps in single precision
    torch.testing.assert_close(f1, golden["eval_f1"], rtol=0, atol=1e-7)
    assert (iou > 0.5).tolist() == golden["eval_iou_over_half"].bool().tolist()


def brute_force(saliency, boxes):
    """IoU and F1 of one map with one image's boxes, pixel by pixel, in plain Python."""
    values = sorted(v for row in saliency for v in row)
    height, width = len(saliency), len(saliency[0])
    mean = sum(values) / len(values)
    threshold = values[int((len(values) - 1) * (1 - mean) + 0.5)]
    threshold = min(max(threshold, 1e-6), 1 - 1e-6)
    ones = {(y, x) for y in range(height) for x in range(width) if saliency[y][x] > threshold}
    parts = []
    while ones:
        part, edge = set(), [min(ones)]
        while edge:
            y, x = edge.pop()
            if (y, x) in ones:
                ones.remove((y, x))
                part.add((y, x))
                edge += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        parts.append(part)
    largest = max(parts, key=len, default=set())
    rows, columns = {y for y, _ in largest}, {x for _, x in largest}
    proposed = set()
    if largest:
        proposed = {
            (y, x)
            for y in range(min(rows), max(rows) + 1)
            for x in range(min(columns), max(columns) + 1)
        }
    ious, f1s = [0.0], [0.0]
    for x0, y0, x1, y1 in boxes:
        true = {(y, x) for y in range(y0, y1) for x in range(x0, x1)}
        if not true:
            continue
        inside = sum(saliency[y][x] for y, x in true if 0 <= y < height and 0 <= x < width)
        precision, recall = inside / (sum(values) + 1e-6), inside / len(true)
        f1s.append(2 * precision * recall / (precision + recall + 1e-6))
        ious.append(len(true & proposed) / len(true | proposed))
    return max(ious), max(f1s)


def cases():
    generator = torch.Generator().manual_seed(0)
    for index in range(40):
        saliency = torch.rand(9, 12, generator=generator, dtype=torch.float64) ** (1 + index % 4)
        if index % 5 == 0:
            saliency = (saliency > 0.6).double()
        if index == 7:
            saliency = torch.full((9, 12), 0.3, dtype=torch.float64)
        count = 1 + index % 3
        corners = torch.randint(-3, 12, (count, 2), generator=generator)
        sizes = torch.randint(0, 9, (count, 2), generator=generator)
        boxes = torch.cat([corners, corners + sizes], 1)
        logits = torch.randn(4, generator=generator)
        if index % 4 == 1:  # an object that is found, half the time with its class
            saliency[2:8, 3:10] = saliency[2:8, 3:10] / 4 + 0.75
            boxes[0] = torch.tensor([3, 2, 10, 8])
            logits[index % 4] += 3 * (index % 8)
        yield saliency, boxes, logits, torch.tensor(index % 4)


def test_brute_force_agrees_also_beyond_the_image_and_without_area():
    samples = list(cases())
    iou, f1 = overlap_with_boxes(torch.stack([s[0] for s in samples]), [s[1] for s in samples])
    for i, (saliency, boxes, _, _) in enumerate(samples):
        expected = brute_force(saliency.tolist(), boxes.tolist())
        assert (float(iou[i]), float(f1[i])) == pytest.approx(expected, abs=1e-12), i


def test_brute_force_agrees_on_maps_and_boxes_that_break_metrics():
    samples = maps_with_boxes()
    iou, f1 = overlap_with_boxes(*collate_boxes(samples))
    for i, (saliency, boxes) in enumerate(samples):
        expected = brute_force(saliency.tolist(), boxes.tolist())
        assert (float(iou[i]), float(f1[i])) == pytest.approx(expected, abs=1e-9), i


def test_the_metric_counts_what_brute_force_counts_however_images_arrive(check_metric):
    samples = list(cases())
    truth = [brute_force(s[0].tolist(), s[1].tolist()) for s in samples]
    wrong = [iou <= 0.5 for iou, _ in truth]
    confused = [int(logits.argmax()) != int(label) for _, _, logits, label in samples]
    expected = {
        "le": sum(wrong) / len(samples),
        "f1": sum(f1 for _, f1 in truth) / len(samples),
        "om": sum(a or b for a, b in zip(wrong, confused, strict=True)) / len(samples),
    }
    assert 0 < expected["le"] < expected["om"] < 1
    expected = {name: torch.tensor(v, dtype=torch.float64) for name, v in expected.items()}

    def collate(chosen):
        saliency, boxes, logits, labels = zip(*chosen, strict=True)
        return torch.stack(saliency), list(boxes), torch.stack(logits), torch.stack(labels)

    check_metric(MaskLocalization, samples, collate, expected, rtol=0, atol=1e-12)


def test_an_iou_of_exactly_one_half_is_wrong():
    saliency = torch.zeros(1, 8, 8)
    saliency[0, 2:4, 2:6] = 1.0  # 8 pixels in a true box of 16
    metric = MaskLocalization()
    metric.update(saliency, [torch.tensor([[2, 2, 6, 6]])])
    assert metric.compute()["le"] == 1
    metric.update(saliency, [torch.tensor([[2, 2, 6, 5]])])
    assert metric.compute()["le"] == 0.5
    assert set(metric.compute()) == {"le", "f1"}


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0, 1.5])
def test_the_share_of_ones_is_alpha_times_the_mean(alpha):
    saliency = torch.rand(20, 31, 17, generator=torch.Generator().manual_seed(3)) ** 2
    ones = binarize(saliency, alpha).double().mean(dim=(1, 2))
    expected = alpha * saliency.double().mean(dim=(1, 2))
    torch.testing.assert_close(ones, expected, rtol=0, atol=1 / (31 * 17))


def test_regions_that_touch_at_corners_are_two():
    binary = torch.zeros(1, 6, 6, dtype=torch.bool)
    binary[0, :2, :2] = binary[0, 2:5, 2:5] = True
    assert largest_component_boxes(binary).tolist() == [[2, 2, 5, 5]]


def test_maps_without_ones_have_the_empty_box():
    assert largest_component_boxes(torch.zeros(1, 4, 4, dtype=torch.bool)).tolist() == [[0] * 4]
    for value, overlap in ((0.0, 0), (0.5, 0), (1.0, 1)):
        iou, f1 = overlap_with_boxes(torch.full((1, 4, 4), value), [torch.tensor([[0, 0, 4, 4]])])
        assert iou.item() == overlap  # the threshold ends below 1
        assert f1.item() == pytest.approx(2 * value / (1 + value), abs=1e-5)


def test_bad_input_is_refused():
    metric, box = MaskLocalization(), [torch.tensor([[0, 0, 2, 2]])]
    with pytest.raises(ValueError, match="given together"):
        metric.update(torch.rand(1, 4, 4), box, logits=torch.rand(1, 3))
    with pytest.raises(ValueError, match="expected logits"):
        metric.update(torch.rand(1, 4, 4), box, torch.rand(1, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="boxes of 1 images"):
        metric.update(torch.rand(1, 4, 4), box * 2)
    with pytest.raises(ValueError, match="alpha"):
        binarize(torch.rand(1, 4, 4), 0.0)
    with pytest.raises(TypeError, match="bool"):
        largest_component_boxes(torch.rand(1, 4, 4))
    with pytest.raises(ValueError, match=r"\(B, H, W\)"):
        largest_component_boxes(torch.ones(4, 4, dtype=torch.bool))
