"""Histograms of values and curves over thresholds against plain loops."""

import math

import pytest
import torch

from learned_saliency.metrics import (
    ActivationHistogram,
    plateau_width,
    shares,
    threshold_curve,
)


def batch(seed=0, count=6, power=2.0):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, 7, 5, generator=generator) ** power
    regions = torch.randint(0, 3, maps.shape, generator=generator, dtype=torch.uint8)
    return maps, torch.where(regions == 2, torch.full_like(regions, 255), regions)


def by_loops(maps, regions):
    """Share of pixels by kind and bin; then precision, recall and F1 at every threshold."""
    pixels = list(zip(maps.double().flatten().tolist(), regions.flatten().tolist(), strict=True))
    histogram = torch.zeros(2, 50, dtype=torch.float64)
    for value, kind in pixels:
        if kind < 2:
            histogram[kind, min(int(value * 50 + 1e-9), 49)] += 1
    curves = []
    for k in range(1001):
        above = [kind for value, kind in pixels if value >= k / 1000]
        true, false = above.count(1), above.count(0)
        objects = sum(kind == 1 for _, kind in pixels)
        precision = true / (true + false) if true + false else 0.0
        recall = true / objects
        both = precision + recall
        curves.append((precision, recall, 2 * precision * recall / both if both else 0.0))
    return histogram / histogram.sum(1, keepdim=True), torch.tensor(curves, dtype=torch.float64)


def counted(*batches):
    metric = ActivationHistogram()
    for maps, regions in batches:
        metric.update(maps, regions)
    return metric


def test_histograms_and_curves_equal_loops():
    maps, regions = batch()
    maps[0, 0] = torch.tensor([0.0, 1.0, 0.02, 0.5, 0.98])
    metric = counted((maps, regions))
    histogram, curves = by_loops(maps, regions)
    torch.testing.assert_close(shares(metric.histogram())[:2], histogram)
    found = threshold_curve(metric.histogram())
    torch.testing.assert_close(torch.stack(found[1:], 1), curves)
    torch.testing.assert_close(found.thresholds, torch.arange(1001).double() / 1000)
    values = metric.compute()
    wide = maps.double()
    assert float(values["activation_near_zero"]) == float((wide < 0.1).double().mean())
    assert float(values["activation_near_one"]) == float((wide >= 0.9).double().mean())
    overlap = sum(min(a, b) for a, b in histogram.T.tolist())
    assert float(values["activation_overlap"]) == pytest.approx(overlap, abs=1e-12)


def test_batches_and_processes_do_not_matter():
    whole = counted(batch(0), batch(1))
    first, second = counted(batch(0)), counted(batch(1))
    first.merge_state(second.metric_state)
    assert torch.equal(first.counts, whole.counts)
    first.reset()
    assert all(math.isnan(value) for value in first.compute().values())


def test_maps_that_tell_nothing_do_not_look_good():
    _, regions = batch()
    zeros, ones = torch.zeros(6, 7, 5), torch.ones(6, 7, 5)
    for maps in (zeros, ones):
        metric = counted((maps, regions))
        assert float(metric.compute()["activation_overlap"]) == 1.0
    curve = threshold_curve(counted((zeros, regions)).histogram()).f1
    assert bool(curve[0] > 0)
    assert not curve[1:].any()
    assert plateau_width(curve, 0.05) == pytest.approx(1 / 1001)
    assert plateau_width(torch.zeros(1000), 0.05) == 0.0
    perfect = counted(((regions == 1).float(), regions))
    assert float(perfect.compute()["activation_overlap"]) == 0.0
    assert plateau_width(threshold_curve(perfect.histogram()).f1, 0.0) == pytest.approx(0.999, 1e-3)
    ignored = torch.full_like(regions, 255)
    assert math.isnan(float(counted((zeros, ignored)).compute()["activation_overlap"]))
    assert math.isnan(plateau_width(threshold_curve(counted((zeros, ignored)).counts).f1, 0.05))


@pytest.mark.parametrize(
    ("curve", "tolerance", "width"),
    [
        ([0.1, 0.5, 0.6, 0.58, 0.2], 0.05, 2 / 5),
        ([0.1, 0.55, 0.6, 0.58, 0.2], 0.05, 3 / 5),  # the edge counts, whatever the rounding
        ([0.6, 0.1, 0.58, 0.59, 0.58], 0.05, 1 / 5),  # the longer stretch holds no best threshold
        ([0.6, 0.1, 0.6, 0.6, 0.1], 0.0, 2 / 5),
        ([0.02, 0.0, 0.01, 0.03, 0.01], 0.05, 3 / 5),  # nothing found is no plateau
        ([0.3], 0.05, 1.0),
    ],
)
def test_plateaus_by_hand(curve, tolerance, width):
    assert plateau_width(torch.tensor(curve, dtype=torch.float64), tolerance) == pytest.approx(
        width
    )


def test_what_does_not_fit_is_refused():
    for call, told in (
        (lambda: plateau_width(torch.zeros(2, 2), 0.1), "must have shape"),
        (lambda: plateau_width(torch.zeros(2), 1.0), "tolerance must be in"),
    ):
        with pytest.raises(ValueError, match=told):
            call()
