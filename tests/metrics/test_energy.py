import pytest
import torch

from learned_saliency.metrics import EnergyProportion, energy


def test_mean_of_shares_however_the_images_arrive(check_metric):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(7, 4, 5, generator=generator)
    maps[2] = 0
    regions = torch.rand(7, 4, 5, generator=generator) > 0.6
    shares = [
        sum(float(v) for v in m[r]) / float(m.sum()) if m.sum() else 0.0
        for m, r in zip(maps, regions, strict=True)
    ]
    check_metric(
        EnergyProportion,
        list(zip(maps, regions, strict=True)),
        lambda chosen: tuple(torch.stack(parts) for parts in zip(*chosen, strict=True)),
        torch.tensor(sum(shares) / 7, dtype=torch.float64),
        rtol=0,
        atol=1e-6,
    )


def test_shares_by_hand():
    maps = torch.tensor([[[0.5, 0.25], [0.25, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    region = torch.tensor([[[True, False], [True, False]]] * 2)
    assert energy(maps, region).tolist() == [0.375, 0.0]
    flat = torch.full((1, 2, 2), 0.5)
    assert energy(flat, region[:1]).tolist() == [0.5]  # the region's share of the image


@pytest.mark.parametrize(
    ("region", "error"),
    [(torch.ones(2, 2, 2), TypeError), (torch.ones(2, 2, 3, dtype=torch.bool), ValueError)],
)
def test_regions_are_checked(region, error):
    with pytest.raises(error):
        energy(torch.rand(2, 2, 2), region)
