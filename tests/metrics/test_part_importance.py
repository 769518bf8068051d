"""Importance of parts in a map, and rank correlation."""

import numpy as np
import pytest
import torch

from learned_saliency.metrics import part_importance


def regions(seed=0, count=6, size=9):
    """Four parts that do not overlap and two regions outside of them, (3, 6, 9, 9)."""
    labels = np.random.default_rng(seed).integers(0, 12, (3, size, size))
    return torch.from_numpy(np.stack([labels == number for number in range(1, count + 1)], 1))


def by_hand(saliency, masks, kind):
    """Shares of one map, pixel by pixel."""
    size = len(saliency)
    sums, counts, rest, outside, total = [0.0] * 6, [0] * 6, 0.0, 0, 0.0
    for y in range(size):
        for x in range(size):
            total += saliency[y][x]
            for r in range(6):
                if masks[r][y][x]:
                    sums[r] += saliency[y][x]
                    counts[r] += 1
            if not any(masks[r][y][x] for r in range(4)):
                rest += saliency[y][x]
                outside += 1
    if kind == "sum":
        return [s / total for s in sums]
    means = [s / n if n else 0.0 for s, n in zip(sums, counts, strict=True)]
    return [m / (rest / outside + sum(means[:4])) for m in means]


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_shares_equal_a_sum_pixel_by_pixel(kind):
    maps = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(1)).double()
    masks = regions()
    masks[1, 2] = False  # a part that shows no pixel
    found = part_importance(maps, masks, kind)
    expected = [by_hand(m.tolist(), r.tolist(), kind) for m, r in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(part_importance(0.3 * maps, masks, kind), found, atol=2e-9)


@pytest.mark.parametrize("value", [0.1, 0.3, 1.0])
def test_a_constant_map_gives_all_regions_the_same_mean_and_its_area_as_sum(value):
    maps, masks = torch.full((3, 9, 9), value), regions()
    mean = part_importance(maps, masks)
    assert torch.equal(mean, torch.full((3, 6), 0.2, dtype=torch.float64))
    areas = masks.double().mean((2, 3))
    torch.testing.assert_close(part_importance(maps, masks, "sum"), areas, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_a_map_of_zeros_gives_nothing(kind):
    assert not part_importance(torch.zeros(3, 9, 9), regions(), kind).any()


def test_what_does_not_fit_is_refused():
    maps, masks = torch.zeros(3, 9, 9), regions()
    with pytest.raises(ValueError, match="kind must be one of"):
        part_importance(maps, masks, "max")
    with pytest.raises(TypeError, match="bool"):
        part_importance(maps, masks.float())
    with pytest.raises(ValueError, match="expected saliency"):
        part_importance(maps[:, :4], masks)
    with pytest.raises(ValueError, match="0 or more"):
        part_importance(maps - 1, masks)
    with pytest.raises(ValueError, match="0 or more"):
        part_importance(maps * torch.nan, masks)
