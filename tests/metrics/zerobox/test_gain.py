"""Average gain as a criterion, against the metrics of a test."""

import torch

from learned_saliency.metrics import (
    AverageDrop,
    AverageGain,
    AverageIncrease,
    ZeroBoxGain,
    kept_probabilities,
    masked_probabilities,
)
from tests.metrics.zerobox.scene import SHAPE, images, looks_at_the_square


def test_the_values_are_those_of_the_metrics_of_a_test(check_metric):
    given, targets = images(6), torch.tensor([0, 1, 0, 0, 1, 0])
    maps = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))
    p, o = kept_probabilities(
        looks_at_the_square, given, maps, targets, looks_at_the_square(given), batch_size=4
    )
    whole = masked_probabilities(looks_at_the_square, given, maps, targets)
    torch.testing.assert_close((p, o), (whole.p, whole.o))
    expected = {}
    for name, metric in (
        ("gain", AverageGain()),
        ("drop", AverageDrop()),
        ("increase", AverageIncrease()),
    ):
        metric.update(whole.p, whole.o)
        expected[f"zerobox_{name}"] = metric.compute()
    assert all(float(value) > 0 for value in expected.values())
    pairs = list(zip(p, o, strict=True))
    check_metric(
        ZeroBoxGain, pairs, lambda rows: tuple(map(torch.stack, zip(*rows, strict=True))), expected
    )


def test_the_whole_image_gains_nothing():
    given = images(2)
    logits = looks_at_the_square(given)
    metric = ZeroBoxGain()
    everything = torch.ones(2, *SHAPE)
    metric.update(
        *kept_probabilities(looks_at_the_square, given, everything, logits.argmax(1), logits)
    )
    assert float(metric.compute()["zerobox_gain"]) == 0
