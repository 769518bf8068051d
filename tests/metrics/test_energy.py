import pytest
import torch

from learned_saliency.metrics import (
    EnergyPointingGame,
    EnergyProportion,
    RelevanceMassAccuracy,
    energy,
)
from tests.support.degenerate_maps import (
    collate_boxes,
    collate_masks,
    maps_with_boxes,
    maps_with_masks,
    mean_of,
    object_of,
    pixels_of,
)


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


def plain_share(saliency, region, counted=None):
    """Paper 002, Eq. 14; 000, Eq. A3: mass in the region over all mass, pixel by pixel."""
    inside = mass = 0.0
    for y, row in enumerate(saliency):
        for x, value in enumerate(row):
            if counted is None or counted[y][x]:
                mass += value
                inside += value * region[y][x]
    if not any(map(any, region)):
        return None
    return inside / mass if mass else 0.0


def test_the_energy_game_is_a_plain_loop_over_the_union_of_boxes(check_metric):
    samples = maps_with_boxes()
    expected = mean_of(plain_share(m.tolist(), pixels_of(b.tolist())) for m, b in samples)
    check_metric(EnergyPointingGame, samples, collate_boxes, expected, rtol=0, atol=1e-12)


def test_mass_accuracy_is_a_plain_loop_without_ignored_pixels(check_metric):
    samples = maps_with_masks()
    terms = [plain_share(m.tolist(), *object_of(mask)) for m, mask in samples]
    assert terms.count(None) == 2  # all ignored, no object
    expected = mean_of(terms)
    check_metric(RelevanceMassAccuracy, samples, collate_masks, expected, rtol=0, atol=1e-12)


def test_boxes_beyond_the_image_are_not_counted():
    metric = EnergyPointingGame()
    metric.update(torch.rand(1, 4, 4), [torch.tensor([[4, 1, 7, 3]])])
    assert metric.compute().isnan()
    assert metric.terms["energy_pointing_game"].isnan().all()
