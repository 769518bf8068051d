import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from learned_saliency.metrics import Localization, MaxBoxAcc, MaxBoxAccV2, boxes_from_saliency
from learned_saliency.metrics.localization import middle_of_longest_maximum
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = FOLDER / "box_eval.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def samples(golden):
    """Map and boxes of each of the 24 golden images."""
    rows = golden["eight_bit_steps"].cumsum(2, dtype=np.uint8)
    maps = torch.from_numpy(rows.cumsum(1, dtype=np.uint8) + 0.5).div(255).clamp(max=1)
    boxes = torch.from_numpy(golden["gt_boxes_224"])
    images = torch.from_numpy(golden["gt_boxes_image"])
    return [(maps[index], boxes[images == index]) for index in range(24)]


def collate(samples):
    maps, boxes = zip(*samples, strict=True)
    return torch.stack(maps), list(boxes)


def collate_classified(samples):
    maps, boxes, logits, labels = zip(*samples, strict=True)
    return torch.stack(maps), list(boxes), torch.stack(logits), torch.stack(labels)


def square_map(size, box, inside=1.0):
    saliency = torch.zeros(size, size)
    x0, y0, x1, y1 = box
    saliency[y0:y1, x0:x1] = inside  # the evaluator's far edge is one pixel beyond
    return saliency


def small_samples(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, 14, 18, generator=generator) ** 3
    low = torch.randint(0, 7, (count, 2, 2), generator=generator)
    size = torch.randint(2, 8, (count, 2, 2), generator=generator)
    boxes = torch.cat([low, low + size], dim=-1)
    return [(maps[i], boxes[i, : 1 + i % 2]) for i in range(count)]


def test_metrics_equal_the_published_figures(golden, samples):
    metric = Localization()
    metric.update(*collate(samples[:10]))
    metric.update(*collate(samples[10:]))
    result = {key: 100 * value.item() for key, value in metric.compute().items()}
    assert result["max_box_acc"] == pytest.approx(golden["max_box_acc"].item(), abs=1e-12)
    assert result["max_box_acc_v2"] == pytest.approx(golden["max_box_acc_v2"].item(), abs=1e-12)
    single = [result[f"max_box_acc_{percent}"] for percent in (30, 50, 70)]
    multi = [result[f"max_box_acc_v2_{percent}"] for percent in (30, 50, 70)]
    np.testing.assert_allclose(single, golden["acc_single"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(multi, golden["acc_multi"], rtol=0, atol=1e-12)
    curves = metric.curves()
    for percent in (30, 50, 70):
        for name, key in (("single", "largest_contour"), ("multi", "any_contour")):
            counts = torch.from_numpy(golden[f"num_correct_{name}_{percent}"])
            torch.testing.assert_close(24 * curves[f"{key}_{percent}"], counts.double())
    np.testing.assert_array_equal(curves["thresholds"], np.arange(0, 1, 0.001))


@pytest.mark.parametrize("make", [MaxBoxAcc, MaxBoxAccV2])
def test_value_does_not_depend_on_batches_or_processes(make, check_metric):
    samples = small_samples(9)
    everything = Localization()
    everything.update(*collate(samples))
    key = {MaxBoxAcc: "max_box_acc", MaxBoxAccV2: "max_box_acc_v2"}[make]
    expected = everything.compute()[key]
    assert 0 < expected < 1
    check_metric(make, samples, collate, expected, rtol=0, atol=1e-12)


def test_all_figures_do_not_depend_on_batches_or_processes(check_metric):
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(9, 8, generator=generator)
    labels = torch.randint(0, 8, (9,), generator=generator)
    samples = [(*s, z, y) for s, z, y in zip(small_samples(9), logits, labels, strict=True)]
    metric = Localization()
    metric.update(*collate_classified(samples))
    expected = metric.compute()
    assert 0 < expected["top5_loc"] < expected["max_box_acc"]
    check_metric(Localization, samples, collate_classified, expected, rtol=0, atol=1e-12)


def test_hit_at_exactly_the_iou_threshold_counts():
    # The proposed box is 4 x 4 pixels with the + 1 convention, the true one 4 x 8: IoU 1/2.
    metric = MaxBoxAcc()
    metric.update(square_map(12, (2, 2, 5, 5))[None], [torch.tensor([[2, 2, 5, 9]])])
    assert metric.compute() == 1
    metric = MaxBoxAcc()
    metric.update(square_map(12, (2, 2, 5, 5))[None], [torch.tensor([[2, 2, 5, 10]])])
    assert metric.compute() == 0


def test_only_v2_may_choose_among_contours():
    saliency = square_map(30, (15, 15, 28, 28)) + square_map(30, (1, 1, 8, 8))
    metric = Localization()
    metric.update(saliency[None], [torch.tensor([[1, 1, 8, 8]])])
    result = metric.compute()
    assert result["max_box_acc"] == 0
    assert result["max_box_acc_v2"] == 1


def test_each_iou_of_v2_has_its_own_threshold():
    # The map's base fits image 0 at IoU 0.7, its peak image 1 at every IoU: no threshold fits both.
    saliency = 0.5 * square_map(40, (2, 2, 38, 38)) + 0.5 * square_map(40, (2, 2, 8, 8))
    boxes = [torch.tensor([[2, 2, 38, 38]]), torch.tensor([[2, 2, 8, 8]])]
    metric = Localization()
    metric.update(saliency.expand(2, -1, -1), boxes)
    result = metric.compute()
    assert [result[f"max_box_acc_v2_{p}"] for p in (30, 50, 70)] == [0.5, 0.5, 0.5]
    metric.update(square_map(40, (3, 3, 30, 30), 1.0)[None], [torch.tensor([[3, 3, 30, 43]])])
    result = metric.compute()
    assert [round(3 * result[f"max_box_acc_v2_{p}"].item()) for p in (30, 50, 70)] == [2, 2, 1]


def test_top_k_localization_by_hand():
    good = square_map(20, (2, 2, 12, 12))
    hit, miss = torch.tensor([[2, 2, 12, 12]]), torch.tensor([[14, 14, 18, 18]])
    logits = torch.arange(10.0).flip(0).repeat(5, 1)  # class k has rank k
    labels = torch.tensor([0, 1, 4, 5, 0])
    metric = Localization()
    metric.update(good.expand(5, -1, -1), [hit, hit, hit, hit, miss], logits, labels)
    result = metric.compute()
    torch.testing.assert_close(result["max_box_acc"].item(), 4 / 5)
    torch.testing.assert_close(result["top1_loc"].item(), 1 / 5)
    torch.testing.assert_close(result["top5_loc"].item(), 3 / 5)


def test_equal_logits_are_not_all_right():
    good = square_map(20, (2, 2, 12, 12)).expand(3, -1, -1)
    metric = Localization()
    boxes = [torch.tensor([[2, 2, 12, 12]])] * 3
    metric.update(good, boxes, torch.zeros(3, 8), torch.tensor([0, 4, 5]))
    result = metric.compute()
    torch.testing.assert_close(result["top1_loc"].item(), 1 / 3)
    torch.testing.assert_close(result["top5_loc"].item(), 2 / 3)


def test_figures_without_logits_have_no_top_k():
    metric = Localization()
    metric.update(*collate(small_samples(1)))
    assert not {"top1_loc", "top5_loc"} & set(metric.compute())
    assert all(torch.isfinite(value) and value.ndim == 0 for value in metric.compute().values())


def test_best_threshold_reaches_max_box_acc_through_boxes_from_saliency():
    samples = small_samples(12, seed=3)
    metric = Localization()
    metric.update(*collate(samples))
    result = metric.compute()
    chosen = Localization()
    proposed = boxes_from_saliency(collate(samples)[0], result["best_threshold"].item())
    redrawn = torch.zeros(12, 14, 18)
    for image, (x0, y0, x1, y1) in zip(redrawn, proposed.tolist(), strict=True):
        image[y0 : y1 + (y1 == 13), x0 : x1 + (x1 == 17)] = 1
    chosen.update(redrawn, [boxes for _, boxes in samples])
    torch.testing.assert_close(chosen.compute()["max_box_acc"], result["max_box_acc"])


@pytest.mark.parametrize(
    ("curve", "middle"),
    [
        ([0.0, 2, 0, 2, 2, 2, 1], 4),
        ([2.0, 2, 0, 2, 2], 0),
        ([1.0, 1, 1, 1], 1),
        ([0.0, 1, 0, 0, 3], 4),
    ],
)
def test_best_threshold_is_the_middle_of_the_longest_maximum(curve, middle):
    assert middle_of_longest_maximum(torch.tensor(curve)) == middle


def test_collection_searches_contours_once(monkeypatch):
    calls = []
    from learned_saliency.metrics import localization

    plain = localization.best_ious
    monkeypatch.setattr(localization, "best_ious", lambda *a: calls.append(1) or plain(*a))
    collection = MetricCollection([MaxBoxAcc(), MaxBoxAccV2()])
    for sample in small_samples(3):
        collection.update(*collate([sample]))
    assert len(calls) == 2 + 1 + 1  # both on the first batch, then one for the two
    everything = Localization()
    everything.update(*collate(small_samples(3)))
    result = collection.compute()
    torch.testing.assert_close(result["MaxBoxAcc"], everything.compute()["max_box_acc"])
    torch.testing.assert_close(result["MaxBoxAccV2"], everything.compute()["max_box_acc_v2"])


def test_curves_of_two_processes_are_of_all_images():
    samples = small_samples(6)
    whole, other = Localization(), Localization()
    whole.update(*collate(samples))
    other.update(*collate(samples[2:]))
    metric = Localization(distributed_available_fn=lambda: True)
    metric.update(*collate(samples[:2]))
    remote = iter([getattr(other, name) for name in metric._reductions])
    metric.dist_sync_fn = lambda state, group=None: [state, next(remote)]
    torch.testing.assert_close(metric.curves(), whole.curves())
    assert metric.images == 2


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_fractions_are_nan_before_any_image():
    assert MaxBoxAcc().compute().isnan()
    assert MaxBoxAccV2().compute().isnan()
    result = Localization().compute()
    assert result.pop("best_threshold").isfinite()
    assert all(value.isnan() for value in result.values())


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        (torch.zeros(2, 3), None, ValueError, "together"),
        (None, torch.zeros(2).long(), ValueError, "together"),
        (torch.zeros(1, 3), torch.zeros(2).long(), ValueError, r"logits \(2, C\)"),
        (torch.zeros(2, 3), torch.zeros(1).long(), ValueError, r"labels \(2,\)"),
        (torch.zeros(2, 3), torch.zeros(2), TypeError, "labels must be integers"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), ValueError, r"0\.\.2"),
        (torch.full((2, 3), torch.nan), torch.zeros(2).long(), ValueError, "NaN"),
    ],
)
def test_bad_logits_are_refused_and_leave_the_counts_alone(logits, labels, error, message):
    metric = Localization()
    with pytest.raises(error, match=message):
        metric.update(*collate(small_samples(2)), logits, labels)
    assert metric.images == 0
