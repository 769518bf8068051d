"""Evidence of cut-outs, against a loop; what is everything or nothing has none."""

import pytest
import torch

from learned_saliency.metrics import ZeroBoxCutout, boxes_from_saliency, cutout_evidence
from learned_saliency.metrics.zerobox.cutout import CUTOUT_THRESHOLDS
from tests.metrics.zerobox.scene import SHAPE, evidence, images, looks_at_the_square


def prob(image, target):
    return float(looks_at_the_square(image[None]).softmax(1)[0, target])


def test_the_value_is_that_of_a_loop_over_thresholds():
    given, targets = images(3), torch.tensor([0, 1, 0])
    maps = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    thresholds = (0.0, 0.35, 0.8)
    found = cutout_evidence(looks_at_the_square, given, maps, targets, thresholds=thresholds)
    for row, target in enumerate(targets.tolist()):
        image, eight_bits = given[row], (maps[row].double() * 255).int()
        for column, threshold in enumerate(thresholds):
            mask = (eight_bits > int(threshold * int(eight_bits.max()))).float()
            inside, outside = prob(image * mask, target), prob(image * (1 - mask), target)
            span = prob(image, target) - prob(image * 0, target)
            expected = inside - outside - (2 * float(mask.mean()) - 1) * span
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-6)


def test_the_evidence_gains_and_flat_full_and_tiny_maps_do_not():
    given, targets, maps = images(2), torch.zeros(2, dtype=torch.int64), evidence(2)
    tiny = torch.zeros(2, *SHAPE)
    tiny[:, 0, 0] = 1

    def best(each):
        return float(cutout_evidence(looks_at_the_square, given, each, targets).max())

    assert best(maps) > 1.5
    assert best(torch.zeros_like(maps)) == pytest.approx(0, abs=1e-6)
    assert best(torch.ones_like(maps)) == pytest.approx(0, abs=1e-6)
    assert best(tiny) < 0.05


def test_the_cut_is_that_of_the_boxes():
    ramp = torch.linspace(0, 1, 144).view(1, *SHAPE)
    cut = CUTOUT_THRESHOLDS[4]
    assert cut == 0.5
    with_rows = (ramp * 255).int()[0] > int(0.5 * 255)
    box = boxes_from_saliency(ramp, cut)[0]
    assert int(box[1]) == int(with_rows.any(1).nonzero()[0])


def test_the_threshold_is_where_the_curve_is_highest(check_metric):
    values = torch.rand(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    curve = values.mean(0)
    expected = {
        "zerobox_cutout": curve.max(),
        "zerobox_cutout_threshold": torch.tensor(
            CUTOUT_THRESHOLDS[int(curve.argmax())], dtype=torch.float64
        ),
    }
    check_metric(ZeroBoxCutout, list(values), lambda rows: (torch.stack(rows),), expected)


def test_a_curve_below_chance_decides_no_threshold():
    metric = ZeroBoxCutout()
    metric.update(torch.full((2, 9), -0.1, dtype=torch.float64))
    assert float(metric.compute()["zerobox_cutout_threshold"]) == 0.5
