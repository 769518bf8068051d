"""Insertion minus deletion, against plain loops; maps that say nothing gain nothing."""

import pytest
import torch

from learned_saliency.metrics import ZeroBoxInsertion, insertion_minus_deletion
from learned_saliency.metrics.zerobox.insertion import shares_of_pixels
from tests.metrics.zerobox.scene import SHAPE, evidence, images, looks_at_the_square


def test_shares_of_distinct_values_are_the_most_salient_pixels():
    maps = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))
    for count in (0, 1, 7, 20):
        shares = shares_of_pixels(maps, count / 20)
        for own, share in zip(maps.flatten(1), shares.flatten(1), strict=True):
            first = own.argsort(descending=True)[:count]
            expected = torch.zeros(20)
            expected[first] = 1
            torch.testing.assert_close(share, expected, rtol=0, atol=1e-5)


def test_equal_pixels_share_what_is_left():
    maps = torch.tensor([[[1.0, 0.5], [0.5, 0.0]], [[0.3, 0.3], [0.3, 0.3]]])
    found = shares_of_pixels(maps, 0.5)
    torch.testing.assert_close(found[0], torch.tensor([[1.0, 0.5], [0.5, 0.0]]))
    torch.testing.assert_close(found[1], torch.full((2, 2), 0.5))


def test_the_difference_is_that_of_a_loop_over_steps():
    given, targets = images(3), torch.tensor([0, 1, 0])
    maps = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    found = insertion_minus_deletion(looks_at_the_square, given, maps, targets, steps=4)
    pixels = maps[0].numel()
    for row in range(3):
        order = maps[row].flatten().argsort(descending=True)
        curves = []
        for shows_first in (True, False):
            probs = []
            for step in range(5):
                shown = torch.zeros(pixels)
                shown[order[: step * pixels // 4]] = 1
                mask = shown if shows_first else 1 - shown
                image = given[row] * mask.view(SHAPE)
                probs.append(looks_at_the_square(image[None]).softmax(1)[0, targets[row]])
            curves.append(sum((a + b) / 2 for a, b in zip(probs[1:], probs[:-1], strict=True)) / 4)
        assert float(found[row]) == pytest.approx(float(curves[0] - curves[1]), abs=1e-6)


def test_the_evidence_gains_and_flat_full_tiny_and_inverted_maps_do_not():
    given, targets = images(2), torch.zeros(2, dtype=torch.int64)
    maps = evidence(2)
    tiny = torch.zeros(2, *SHAPE)
    tiny[:, 0, 0] = 1
    value = {
        name: float(insertion_minus_deletion(looks_at_the_square, given, each, targets)[0])
        for name, each in {
            "square": maps,
            "zeros": torch.zeros_like(maps),
            "full": torch.ones_like(maps),
            "tiny": tiny,
            "inverted": 1 - maps,
        }.items()
    }
    assert value["square"] > 0.5
    assert value["zeros"] == pytest.approx(0, abs=1e-6)
    assert value["full"] == pytest.approx(0, abs=1e-6)
    assert abs(value["tiny"]) < 0.05
    assert value["inverted"] == pytest.approx(-value["square"], abs=1e-5)


def test_half_precision_images_are_compared_in_float32():
    given, maps = images(2).bfloat16(), evidence(2)
    found = insertion_minus_deletion(
        looks_at_the_square, given, maps, torch.zeros(2, dtype=torch.int64)
    )
    assert found.dtype == torch.float64
    assert (found > 0.4).all()


def test_wrong_input_is_refused():
    targets = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="expected images"):
        insertion_minus_deletion(looks_at_the_square, images(2), evidence(3), targets)
    with pytest.raises(ValueError, match="steps"):
        insertion_minus_deletion(looks_at_the_square, images(2), evidence(2), targets, steps=0)


def test_the_metric_is_a_mean_over_images(check_metric):
    values = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 0.5
    check_metric(ZeroBoxInsertion, list(values), lambda rows: (torch.stack(rows),), values.mean())
