import pytest
import torch

from learned_saliency.metrics import LocalizationFloors, MaxBoxAcc, MaxBoxAccV2, PxAP

HEIGHT, WIDTH, GRID = 12, 16, 4


def make_samples(count=7):
    generator = torch.Generator().manual_seed(0)
    samples = []
    for index in range(count):
        low = torch.randint(0, 6, (1 + index % 2, 2), generator=generator)
        size = torch.randint(3, 7, low.shape, generator=generator)
        if index == 0:
            low, size = torch.tensor([[0, 0]]), torch.tensor([[12, 12]])
        mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
        for (x, y), (w, h) in zip(low.tolist(), size.tolist(), strict=True):
            mask[y : y + h, x : x + w] = 1
        mask[-1, :4] = 255
        samples.append((torch.cat([low, low + size - 1], dim=1), mask))
    return samples


def collate(samples):
    boxes, masks = zip(*samples, strict=True)
    return list(boxes), (HEIGHT, WIDTH), torch.stack(masks)


def collate_boxes(samples):
    return collate(samples)[:2]


def binary_map(rows, columns):
    """A map of ones in a centered rectangle of ``rows`` x ``columns`` pixels."""
    saliency = torch.zeros(HEIGHT, WIDTH)
    top, left = (HEIGHT - rows) // 2, (WIDTH - columns) // 2
    saliency[top : top + rows, left : left + columns] = 1
    return saliency


def figures(saliency, samples):
    """Figures of one map for all images, from the metrics themselves."""
    boxes, _, masks = collate(samples)
    maps = saliency.expand(len(samples), -1, -1)
    box_acc, box_acc_v2, pxap = MaxBoxAcc(), MaxBoxAccV2(), PxAP()
    box_acc.update(maps, boxes)
    box_acc_v2.update(maps, boxes)
    pxap.update(maps, masks)
    each_iou = box_acc_v2._accuracy()[1].amax(-1)
    return box_acc.compute(), each_iou, pxap.compute()


def brute_force(samples):
    sizes = [
        (HEIGHT * (j + 1) // GRID, WIDTH * (k + 1) // GRID)
        for j in range(GRID)
        for k in range(GRID)
    ]
    found = [figures(binary_map(*size), samples) for size in sizes]
    box_acc, each_iou, pxap = (torch.stack(values) for values in zip(*found, strict=True))
    keys = "max_box_acc", "max_box_acc_v2", "pxap"
    full = box_acc[-1], each_iou[-1].mean(), pxap[-1]
    best = box_acc.max(), each_iou.amax(0).mean(), pxap.max()
    return {
        "full_image": dict(zip(keys, full, strict=True)),
        "centered_box": dict(zip(keys, best, strict=True)),
    }


def test_floors_equal_the_metrics_of_the_binary_maps(check_metric):
    samples = make_samples()
    expected = brute_force(samples)
    assert expected["full_image"]["pxap"] < expected["centered_box"]["pxap"] < 1
    assert 0 < expected["full_image"]["max_box_acc_v2"] < expected["centered_box"]["max_box_acc_v2"]
    make = lambda **kwargs: LocalizationFloors(GRID, **kwargs)  # noqa: E731
    check_metric(make, samples, collate, expected, rtol=0, atol=1e-12)
    for floor in expected.values():
        del floor["pxap"]
    check_metric(make, samples, collate_boxes, expected, rtol=0, atol=1e-12)


def test_masks_alone_give_pxap_alone():
    samples = make_samples()
    metric = LocalizationFloors(GRID)
    metric.update(None, (HEIGHT, WIDTH), collate(samples)[2])
    result, expected = metric.compute(), brute_force(samples)
    for floor in ("full_image", "centered_box"):
        assert list(result[floor]) == ["pxap"]
        torch.testing.assert_close(result[floor]["pxap"], expected[floor]["pxap"])


def test_centered_box_is_never_below_the_full_image():
    for grid in (1, 2, 5, 56):
        metric = LocalizationFloors(grid)
        metric.update(*collate(make_samples()))
        floors = metric.compute()
        for key, value in floors["full_image"].items():
            assert floors["centered_box"][key] >= value


def test_images_of_different_sizes_share_the_relative_rectangles():
    metric = LocalizationFloors(GRID)
    metric.update([torch.tensor([[2, 2, 6, 6]])], (8, 8))
    metric.update([torch.tensor([[8, 4, 24, 12]])], (16, 32))
    floors = metric.compute()
    assert floors["centered_box"]["max_box_acc"] == 1
    assert floors["full_image"]["max_box_acc"] == 0


def test_mask_without_object_gives_nan_and_boxes_still_count():
    metric = LocalizationFloors(GRID)
    masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
    metric.update([torch.tensor([[0, 0, 15, 11]])], (HEIGHT, WIDTH), masks)
    floors = metric.compute()
    assert floors["full_image"]["pxap"].isnan()
    assert floors["full_image"]["max_box_acc"] == 1


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_floors_are_empty_before_any_image():
    assert LocalizationFloors().compute() == {"full_image": {}, "centered_box": {}}


@pytest.mark.parametrize(
    ("boxes", "size", "masks", "error", "message"),
    [
        ([torch.ones(1, 4)], (4, 4), None, TypeError, "integers"),
        ([torch.tensor([[2, 2, 1, 3]])], (4, 4), None, ValueError, "ends before"),
        ([torch.tensor([[0, 0, 1, 3]])], (0, 4), None, ValueError, "image_size"),
        (None, (4, 4), torch.ones(1, 4, 4), TypeError, "uint8"),
        (None, (4, 4), torch.ones(1, 4, 5).byte(), ValueError, r"\(1, 4, 4\)"),
        ([torch.tensor([[0, 0, 1, 3]])], (4, 4), torch.ones(2, 4, 4).byte(), ValueError, "masks"),
        (None, (4, 4), torch.full((1, 4, 4), 3).byte(), ValueError, "only 0"),
    ],
)
def test_bad_input_is_refused(boxes, size, masks, error, message):
    metric = LocalizationFloors(GRID)
    with pytest.raises(error, match=message):
        metric.update(boxes, size, masks)
    assert metric.images == 0


def test_grid_below_one_is_refused():
    with pytest.raises(ValueError, match="grid"):
        LocalizationFloors(0)
