import pytest
import torch
from torchvision.ops import box_iou

from learned_saliency.metrics import OverlapLocalization, boxes_above_mean, pixelwise_f1
from tests.support.degenerate_maps import (
    HEIGHT,
    WIDTH,
    collate_boxes,
    degenerate_maps,
    maps_with_boxes,
    pixels_of,
)

NAMES = ("le_iou", "f1_union", "om_iou")


def predicted_box(saliency):
    """B_p of paper 000: pixels of the box around the largest part above the mean."""
    values = [v for row in saliency for v in row]
    left = set()
    if min(values) < max(values):
        mean = sum(values) / len(values)
        left = {(y, x) for y in range(HEIGHT) for x in range(WIDTH) if saliency[y][x] > mean}
    largest = set()
    while left:
        part, edge = set(), [min(left)]
        while edge:
            y, x = edge.pop()
            if (y, x) in left:
                left.remove((y, x))
                part.add((y, x))
                edge += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        largest = max(largest, part, key=len)
    if not largest:
        return set()
    rows, columns = [y for y, _ in largest], [x for _, x in largest]
    return {
        (y, x)
        for y in range(min(rows), max(rows) + 1)
        for x in range(min(columns), max(columns) + 1)
    }


def plain(saliency, boxes, right):
    """LE, F1 and OM of one image, paper 000, Eq. A1-A4, as sets of pixels."""
    proposed, overlap = predicted_box(saliency), 0.0
    for box in boxes:
        inside = pixels_of([box])
        true = {(y, x) for y in range(HEIGHT) for x in range(WIDTH) if inside[y][x]}
        if true | proposed:
            overlap = max(overlap, len(true & proposed) / len(true | proposed))
    union = pixels_of(boxes)
    pairs = [
        (v, u) for vs, us in zip(saliency, union, strict=True) for v, u in zip(vs, us, strict=True)
    ]
    mass, area = sum(v for v, _ in pairs), sum(u for _, u in pairs)
    within, flat = sum(v for v, u in pairs if u), len({v for v, _ in pairs}) == 1
    f1 = 0.0
    if within > 0 and not flat:
        precision, recall = within / mass, within / area
        f1 = 2 * precision * recall / (precision + recall)
    return 1 - overlap, f1, 1 - overlap * right


def test_values_are_those_of_a_plain_loop_however_images_arrive(check_metric):
    generator = torch.Generator().manual_seed(0)
    samples = [
        (*sample, torch.randn(3, generator=generator), torch.tensor(index % 3 if index % 5 else -1))
        for index, sample in enumerate(maps_with_boxes())
    ]
    terms = [
        plain(m.tolist(), b.tolist(), int(logits.argmax()) == int(label))
        for m, b, logits, label in samples
    ]
    le, f1, om = zip(*terms, strict=True)
    known = [value for value, sample in zip(om, samples, strict=True) if sample[3] >= 0]
    values = [sum(part) / len(part) for part in (le, f1, known)]
    assert 0.2 < values[0] < values[2] < 1
    expected = {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in zip(NAMES, values, strict=True)
    }

    def collate(chosen):
        maps, boxes, logits, labels = zip(*chosen, strict=True)
        return torch.stack(maps), list(boxes), torch.stack(logits), torch.stack(labels)

    check_metric(OverlapLocalization, samples, collate, expected, rtol=0, atol=1e-12)
    metric = OverlapLocalization()
    metric.update(*collate(samples))
    unknown = metric.terms["om_iou"].isnan()
    assert unknown.tolist() == [int(sample[3]) < 0 for sample in samples]
    torch.testing.assert_close(metric.terms["le_iou"], torch.tensor(le, dtype=torch.float64))


def test_overlaps_are_those_of_torchvision():
    size = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    samples = [(m, b) for m, b in maps_with_boxes() if b.min() >= 0 and (b < size).all()]
    maps, boxes = collate_boxes(samples)
    metric = OverlapLocalization()
    metric.update(maps, boxes)
    proposed = boxes_above_mean(maps)
    for value, own, true in zip(metric.terms["le_iou"], proposed, boxes, strict=True):
        expected = (
            1 - box_iou(own[None].double(), true + torch.tensor([0.0, 0, 1, 1])).nan_to_num().max()
        )
        torch.testing.assert_close(value, expected)
    assert set(metric.compute()) == {"le_iou", "f1_union"}


def test_a_map_of_one_value_names_nothing():
    for name, saliency in degenerate_maps().items():
        if name.startswith("constant"):
            box = [torch.tensor([[0, 0, WIDTH, HEIGHT]])]
            assert boxes_above_mean(saliency[None]).tolist() == [[0] * 4]
            assert pixelwise_f1(saliency[None], box).tolist() == [0.0]
    # float32's 0.3 sums to less than N times itself in some orders
    flat = torch.full((1, 224, 224), 0.3)
    assert boxes_above_mean(flat).tolist() == [[0] * 4]


def test_f1_of_all_but_one_pixel_is_the_whole_images():
    saliency = torch.ones(1, HEIGHT, WIDTH, dtype=torch.float64)
    saliency[0, 0, 0] = 0
    share = 25 / (HEIGHT * WIDTH)
    f1 = pixelwise_f1(saliency, [torch.tensor([[3, 3, 7, 7]])]).item()
    assert f1 == pytest.approx(2 * share / (1 + share), abs=0.01)
    assert boxes_above_mean(saliency).tolist() == [[0, 0, WIDTH, HEIGHT]]


def test_bad_input_is_refused():
    metric, box = OverlapLocalization(), [torch.tensor([[0, 0, 2, 2]])]
    with pytest.raises(ValueError, match="given together"):
        metric.update(torch.rand(1, 4, 4), box, logits=torch.rand(1, 3))
    with pytest.raises(ValueError, match="expected logits"):
        metric.update(torch.rand(1, 4, 4), box, torch.rand(1, 3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="boxes of 1 images"):
        metric.update(torch.rand(1, 4, 4), box * 2)
