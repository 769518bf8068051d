import math
import statistics
from itertools import pairwise

import pytest
import torch

from learned_saliency.metrics import MapStatistics


def by_hand(maps):
    """The definitions, pixel by pixel, in plain Python."""
    means, entropies, variations = [], [], []
    for rows in maps:
        pixels = [v for row in rows for v in row]
        means.append(sum(pixels) / len(pixels))
        terms = [-sum(p * math.log(p) for p in (v, 1 - v) if p > 0) for v in pixels]
        entropies.append(sum(terms) / len(pixels))
        across = sum(abs(a - b) for row in rows for a, b in pairwise(row))
        down = sum(
            abs(a - b) for upper, lower in pairwise(rows) for a, b in zip(upper, lower, strict=True)
        )
        variations.append((across + down) / len(pixels))
    return {
        "map_mean": statistics.fmean(means),
        "map_std": statistics.pstdev(means),
        "map_entropy": statistics.fmean(entropies),
        "map_variation": statistics.fmean(variations),
    }


def test_statistics_are_those_of_the_definitions_however_maps_arrive(check_metric):
    generator = torch.Generator().manual_seed(0)
    samples = [
        torch.rand(5, 7, generator=generator, dtype=torch.float64) ** power
        for power in range(1, 12)
    ]
    samples += [torch.zeros(5, 7).double(), (samples[0] > 0.5).double()]
    expected = by_hand([sample.tolist() for sample in samples])
    expected = {name: torch.tensor(v, dtype=torch.float64) for name, v in expected.items()}
    check_metric(MapStatistics, samples, lambda s: (torch.stack(s),), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        (torch.full((2, 4, 4), 0.5), (0.5, 0.0, math.log(2), 0.0)),
        (torch.stack([torch.zeros(4, 4), torch.ones(4, 4)]), (0.5, 0.5, 0.0, 0.0)),
        ((torch.arange(4)[:, None] + torch.arange(4))[None] % 2.0, (0.5, 0.0, 0.0, 24 / 16)),
    ],
)
def test_extreme_maps_reach_the_bounds(maps, expected):
    metric = MapStatistics()
    metric.update(maps)
    assert [float(v) for v in metric.compute().values()] == pytest.approx(expected)


def test_values_outside_zero_and_one_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        MapStatistics().update(torch.full((1, 4, 4), 1.5))
