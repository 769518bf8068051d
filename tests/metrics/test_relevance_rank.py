import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_r_precision

from learned_saliency.metrics import RelevanceRankAccuracy, rank_accuracy
from tests.support.degenerate_maps import (
    HEIGHT,
    WIDTH,
    collate_masks,
    maps_with_masks,
    mean_of,
    object_of,
)


def plain_rank_accuracy(saliency, mask):
    """Arras et al.: take the K highest pixels; the last places are shared among equal ones."""
    region, counted = object_of(mask)
    pixels = [
        (value, inside)
        for values, insides, counts in zip(saliency.tolist(), region, counted, strict=True)
        for value, inside, count in zip(values, insides, counts, strict=True)
        if count
    ]
    left = size = sum(inside for _, inside in pixels)
    if size == 0:
        return None
    found = 0.0
    for level in sorted({value for value, _ in pixels}, reverse=True):
        equal = [inside for value, inside in pixels if value == level]
        taken = min(left, len(equal))
        found += taken * sum(equal) / len(equal)
        left -= taken
    return found / size


def test_shares_are_those_of_a_plain_loop_however_images_arrive(check_metric):
    samples = maps_with_masks()
    terms = [plain_rank_accuracy(*sample) for sample in samples]
    assert terms.count(None) == 2
    check_metric(RelevanceRankAccuracy, samples, collate_masks, mean_of(terms), rtol=0, atol=1e-12)


def test_without_ties_it_is_the_r_precision_of_torchmetrics():
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(30, HEIGHT, WIDTH, generator=generator)
    region = torch.rand(30, HEIGHT, WIDTH, generator=generator) > 0.7
    found = rank_accuracy(maps, region)
    for value, saliency, inside in zip(found, maps, region, strict=True):
        expected = retrieval_r_precision(saliency.flatten(), inside.flatten())
        assert float(value) == pytest.approx(float(expected), abs=1e-6)


def test_equal_pixels_share_their_places_wherever_the_object_lies():
    top, bottom = (torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool) for _ in range(2))
    top[:, :3], bottom[:, 6:] = True, True
    for value in (0.0, 0.4, 1.0):
        flat = torch.full((1, HEIGHT, WIDTH), value)
        assert rank_accuracy(flat, top) == rank_accuracy(flat, bottom) == pytest.approx(1 / 3)
    binary = top.float()
    assert rank_accuracy(binary, top) == 1
    assert rank_accuracy(binary, bottom) == 0
    # the 36 zeros of the object share no place; of 36 places 18 are left to 90 zeros
    half = torch.zeros(1, HEIGHT, WIDTH)
    half[0, :3, :6] = 1
    assert rank_accuracy(half, top) == pytest.approx((18 + 18 * 18 / 90) / 36)


def test_bad_input_is_refused():
    maps, region = torch.rand(2, 4, 5), torch.ones(2, 4, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match="not among those that count"):
        rank_accuracy(maps, region, ~region)
    with pytest.raises(TypeError, match="must be uint8"):
        RelevanceRankAccuracy().update(maps, region)
    with pytest.raises(TypeError, match="floating"):
        rank_accuracy(region, region)
