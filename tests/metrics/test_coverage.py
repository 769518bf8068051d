"""Coverage by conformal risk control: brute force over thresholds, and the guarantee simulated."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from learned_saliency.metrics import (
    COVERAGE_THRESHOLDS,
    CoverageCalibration,
    calibrated_threshold,
    images_needed,
    region,
    smoothed,
)
from learned_saliency.metrics.coverage import FORMS, TRUTHS

UNIT = 2**32
SIZE = 12


def sample(generator, kind):
    """A map, a mask and boxes of an image, of a kind that wants care."""
    saliency = torch.rand(SIZE, SIZE, generator=generator)
    if kind == "levels":  # many equal values, some on the grid
        saliency = torch.from_numpy(COVERAGE_THRESHOLDS)[(saliency * 4).int() * 400].float()
    elif kind == "flat":
        saliency = torch.full((SIZE, SIZE), 0.0)
    elif kind == "low":
        saliency = saliency**6
    mask = torch.tensor([0, 1, 255], dtype=torch.uint8)[
        torch.randint(3, (SIZE, SIZE), generator=generator)
    ]
    if kind == "empty":
        mask[mask == 1] = 0
    corners = torch.randint(-2, SIZE + 2, (2, 2, 2), generator=generator).sort(1).values
    return saliency, mask, corners.flatten(1)


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(3)
    kinds = ["random", "levels", "flat", "low", "empty", "random", "low", "levels"]
    return [sample(generator, kind) for kind in kinds]


def plain_losses(saliency, mask, boxes, threshold):
    """Losses by truth and form from the definition, pixel by pixel; None without an object."""
    inside = np.asarray(region(saliency[None], threshold)[0])
    rows, columns = np.nonzero(inside)
    found = []
    for truth in TRUTHS:
        if truth == "masks":
            pixels = {(y, x) for y, x in zip(*np.nonzero(mask.numpy() == 1), strict=True)}
            covered = {(y, x) for y, x in pixels if inside[y, x]}
        else:
            pixels = {
                (y, x)
                for x0, y0, x1, y1 in boxes.tolist()
                for y, x in itertools.product(range(y0, y1 + 1), range(x0, x1 + 1))
                if 0 <= y < SIZE and 0 <= x < SIZE
            }
            covered = {
                (y, x)
                for y, x in pixels
                if len(rows)
                and rows.min() <= y <= rows.max()
                and columns.min() <= x <= columns.max()
            }
        if pixels:
            missed = Fraction(len(pixels) - len(covered), len(pixels))
            found.append({"object": Fraction(int(missed > 0)), "pixels": missed})
        else:
            found.append(None)
    return found


def collate(samples):
    maps, masks, boxes = zip(*samples, strict=True)
    return torch.stack(maps), list(boxes), torch.stack(masks)


def test_sums_equal_brute_force_over_all_thresholds(samples, check_metric):
    size = len(TRUTHS), len(FORMS), len(COVERAGE_THRESHOLDS)
    losses, images = torch.zeros(size, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    for saliency, mask, boxes in samples:
        # Between two values of the map nothing changes: the definition is asked once for each.
        levels = np.unique(smoothed(saliency[None]).double().numpy())
        steps = np.searchsorted(levels, COVERAGE_THRESHOLDS)
        for step in np.unique(steps):
            where = torch.from_numpy(steps == step)
            threshold = COVERAGE_THRESHOLDS[steps == step][0]
            for truth, found in enumerate(plain_losses(saliency, mask, boxes, threshold)):
                for form, name in enumerate(FORMS if found else ()):
                    losses[truth, form, where] += -(-found[name] * UNIT // 1)
        for truth, found in enumerate(plain_losses(saliency, mask, boxes, 0.5)):
            images[truth] += found is not None
    assert images.tolist() == [7, 8]
    check_metric(CoverageCalibration, samples, collate, (losses, images), rtol=0, atol=0)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", [1, 8, 9, 19, 30])
def test_threshold_is_the_order_statistic_of_split_conformal(level, count):
    generator = torch.Generator().manual_seed(count)
    scores = COVERAGE_THRESHOLDS[torch.randint(1, 2001, (count,), generator=generator).numpy()]
    losses = torch.from_numpy((scores[:, None] < COVERAGE_THRESHOLDS).sum(0) * UNIT)
    rank = int((1 - Fraction(str(level))) * (count + 1))
    expected = sorted(scores)[rank - 1] if rank else None
    assert calibrated_threshold(losses, count, level) == expected
    assert (rank == 0) == (count < images_needed(level))


def test_threshold_is_the_largest_that_the_bound_allows(samples):
    metric = CoverageCalibration()
    metric.update(*collate(samples * 5))
    losses, images = metric.compute()
    for truth, form, level in itertools.product(range(2), range(2), (0.3, 0.5, 0.75, 0.9)):
        count = int(images[truth])
        allowed = [
            (Fraction(int(total), UNIT) + 1) / (count + 1) <= 1 - Fraction(str(level))
            for total in losses[truth, form]
        ]
        expected = COVERAGE_THRESHOLDS[allowed][-1] or None
        assert calibrated_threshold(losses[truth, form], count, level) == expected


def test_a_tenth_of_ten_images_is_one():
    # In floating point (1 - 0.9) * 10 is below 1.
    scores = COVERAGE_THRESHOLDS[100 * np.arange(1, 10)]
    losses = torch.from_numpy((scores[:, None] < COVERAGE_THRESHOLDS).sum(0) * UNIT)
    assert calibrated_threshold(losses, 9, 0.9) == scores[0]
    assert calibrated_threshold(losses, 8, 0.9) is None
    assert images_needed(0.9) == 9
    assert images_needed(0.999) == 999


def test_no_threshold_where_only_the_whole_image_covers():
    losses = torch.full((len(COVERAGE_THRESHOLDS),), 50 * UNIT)
    losses[0] = 0
    assert calibrated_threshold(losses, 100, 0.9) is None
    assert calibrated_threshold(torch.zeros_like(losses), 0, 0.9) is None


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5])
def test_levels_outside_0_to_1_are_refused(level):
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
        calibrated_threshold(torch.zeros(2001, dtype=torch.int64), 9, level)


def test_regions_of_constant_maps_are_the_whole_image():
    maps = torch.stack([torch.full((3, 4), 0.2), torch.linspace(0, 1, 12).view(3, 4)])
    found = region(maps, 0.5)
    assert found[0].all()
    assert torch.equal(found[1], smoothed(maps)[1] >= 0.5)


def test_maps_are_smoothed_by_an_eighth_of_their_side():
    maps = torch.rand(2, 5, 9, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros(2, 5, 9, dtype=torch.float64)
    for y, x in itertools.product(range(5), range(9)):
        weights = torch.zeros(5, 9, dtype=torch.float64)
        for i, j in itertools.product(range(5), range(9)):
            across, down = (x - j) / (9 / 8), (y - i) / (5 / 8)
            weights[i, j] = np.exp(-(across**2 + down**2) / 2)
        expected[:, y, x] = (maps * weights / weights.sum()).sum((1, 2))
    torch.testing.assert_close(smoothed(maps), expected.float())
    alone = torch.cat([smoothed(one[None]) for one in maps])
    torch.testing.assert_close(smoothed(maps), alone, rtol=0, atol=0)


@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize("form", [0, 1])
def test_new_images_are_covered_as_promised(truth, form):
    """Over 400 random splits the mean loss is below 1 - level, by no more than 1 / (n + 1)."""
    generator = torch.Generator().manual_seed(0)
    maps, masks, boxes = [], [], []
    for _ in range(260):
        center = torch.randint(3, 9, (2,), generator=generator)
        radius = int(torch.randint(1, 4, (1,), generator=generator))
        rows, columns = (torch.arange(SIZE) - c for c in center.tolist())
        near = (rows[:, None].abs() <= radius) & (columns.abs() <= radius)
        noise = torch.rand(SIZE, SIZE, generator=generator)
        maps.append((0.6 * near * noise.sqrt() + 0.4 * noise).clamp(0, 1))
        masks.append(near.to(torch.uint8))
        (y0, x0), (y1, x1) = near.nonzero()[[0, -1]].tolist()
        boxes.append([x0, y0, x1, y1])
    each = []
    for parts in zip(maps, masks, boxes, strict=True):
        metric = CoverageCalibration()
        metric.update(parts[0][None], [torch.tensor([parts[2]])], parts[1][None])
        each.append(metric.compute().losses[truth, form])
    losses, count, level = torch.stack(each), 60, 0.8
    found = []
    for _ in range(400):
        order = torch.randperm(len(losses), generator=generator)
        threshold = calibrated_threshold(losses[order[:count]].sum(0), count, level)
        index = int(np.searchsorted(COVERAGE_THRESHOLDS, threshold))
        found.append(losses[order[count:], index].double().mean().item() / UNIT)
    error = np.std(found) / len(found) ** 0.5
    assert np.mean(found) <= 1 - level + 2 * error
    assert np.mean(found) >= 1 - level - (2 if form else 1) / (count + 1) - 2 * error
