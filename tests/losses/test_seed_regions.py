"""Regions of several erosions and shares at once, and their sides at other image sizes."""

from functools import partial
from importlib import import_module

import pytest
import torch

from learned_saliency.losses import (
    IGNORE,
    SeedSampler,
    background_chances,
    foreground_regions,
    sampling_regions,
    scaled_side,
)

REGIONS = import_module(sampling_regions.__module__)
SHARES = (0.0, 0.1, 0.45, 1.0)


def maps_of_few_values(seed=0):
    """Maps with many equal pixels, one of them constant."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(0, 3, (4, 5, 6), generator=generator) / 2
    maps[3] = 0.5
    return maps


def test_several_erosions_are_those_of_one_at_a_time():
    maps = torch.rand(5, 1, 7, 7, generator=torch.Generator().manual_seed(1))
    maps = torch.nn.functional.interpolate(maps, 40, mode="bicubic")[:, 0].clamp(0, 1)
    maps[4] = 0.25
    erosions = (0, 3, 9, 39)
    regions, emptied = foreground_regions(maps, erosions)
    whole = sampling_regions(maps, 0.3, 0).foreground
    for erosion, region, empty in zip(erosions, regions, emptied, strict=True):
        assert torch.equal(region, sampling_regions(maps, 0.3, erosion).foreground)
        same = (region == whole).flatten(1).all(1) & whole.flatten(1).any(1)
        assert torch.equal(empty, same & (erosion > 0))
    assert emptied[-1, :4].all()
    assert not regions[:, 4].any()


def test_chances_are_the_mean_over_all_starts_of_the_run(monkeypatch):
    maps = maps_of_few_values()
    chances = background_chances(maps, SHARES)
    for share, found in zip(SHARES, chances, strict=True):
        for row, saliency in enumerate(maps):
            starts = []
            last = saliency.flatten().sort().values[max(int(share * saliency.numel()) - 1, 0)]
            ties = int((saliency == last).sum())
            for start in range(ties):
                number = partial(torch.full, fill_value=start)
                monkeypatch.setattr(REGIONS, "random_integers", lambda shape, _, n=number: n(shape))
                region = sampling_regions(saliency[None], share, generator=torch.Generator())
                starts.append(region.background[0].double())
            torch.testing.assert_close(found[row], torch.stack(starts).mean(0))
    counts = [int(share * 30) for share in SHARES]
    torch.testing.assert_close(
        chances[:, :3].sum((2, 3)), torch.tensor(counts).double()[:, None].expand(4, 3)
    )


@pytest.mark.parametrize(
    ("side", "shape", "reference_size", "scaled"),
    [
        (11, (224, 224), 224, 11),
        (11, (64, 64), 224, 3),  # 3.14
        (3, (64, 64), 224, 1),  # 0.86
        (11, (160, 160), 224, 7),  # 7.86
        (11, (128, 512), 224, 13),  # 12.57 of the side of a square with as many pixels
        (11, (448, 448), 224, 23),  # 22, as near to 21
        (3, (8, 8), 224, 1),
        (0, (64, 64), 224, 0),
        (11, (64, 64), None, 11),
    ],
)
def test_a_side_follows_the_size_of_the_images(side, shape, reference_size, scaled):
    assert scaled_side(side, shape, reference_size) == scaled


@pytest.mark.parametrize("looped", [True, False])
def test_a_sampler_with_a_reference_size_draws_as_one_with_the_scaled_sides(looped, monkeypatch):
    if not looped:
        seeds = import_module(SeedSampler.__module__)
        monkeypatch.setattr(seeds, "seed_loops", lambda maps: None)
    maps = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    maps = torch.nn.functional.interpolate(maps, (40, 60), mode="bilinear")[:, 0]
    given = SeedSampler(erosion=21, dilation=15, reference_size=140)
    meant = SeedSampler(erosion=7, dilation=5)  # 7.35 and 5.25 at sqrt(2400) pixels
    for _ in range(3):
        drawn = given(maps)
        torch.testing.assert_close(drawn, meant(maps))
        assert {1, 0, IGNORE} == set(drawn.unique().tolist())
    torch.testing.assert_close(given.without_object(maps), meant.without_object(maps))


def test_a_sampler_refuses_a_reference_size_of_nothing():
    with pytest.raises(ValueError, match="reference_size must be positive or None, got 0"):
        SeedSampler(reference_size=0)
