import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_hit_rate

from learned_saliency.metrics import MaskPointingGame, PointingGame, box_union, pointing_hits
from tests.support.degenerate_maps import (
    HEIGHT,
    WIDTH,
    collate_boxes,
    collate_masks,
    maps_with_boxes,
    maps_with_masks,
    mean_of,
    object_of,
    pixels_of,
)

EVERY = [[True] * WIDTH] * HEIGHT


def plain_hit(saliency, region, tolerance=0, counted=EVERY):
    """Paper 000, Eq. A6, with the mean over tied maxima; pixel by pixel. None without a region."""
    pixels = [(y, x) for y in range(HEIGHT) for x in range(WIDTH)]
    inside = [(y, x) for y, x in pixels if region[y][x]]
    if not inside:
        return None
    highest = max(saliency[y][x] for y, x in pixels if counted[y][x])
    maxima = [(y, x) for y, x in pixels if counted[y][x] and saliency[y][x] == highest]
    hits = [any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in inside) for y, x in maxima]
    return sum(hits) / len(maxima)


@pytest.mark.parametrize("tolerance", [0, 1, 2.5, 15])
def test_hits_are_those_of_a_plain_loop_however_images_arrive(check_metric, tolerance):
    samples = maps_with_boxes()
    expected = mean_of(plain_hit(m.tolist(), pixels_of(b.tolist()), tolerance) for m, b in samples)
    make = lambda **kwargs: PointingGame(tolerance, **kwargs)  # noqa: E731
    check_metric(make, samples, collate_boxes, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tolerance", [0, 2])
def test_masks_leave_ignored_pixels_out(check_metric, tolerance):
    samples = maps_with_masks()
    terms = []
    for saliency, mask in samples:
        region, counted = object_of(mask)
        terms.append(plain_hit(saliency.tolist(), region, tolerance, counted))
    assert terms.count(None) == 2  # all ignored, no object
    make = lambda **kwargs: MaskPointingGame(tolerance, **kwargs)  # noqa: E731
    check_metric(make, samples, collate_masks, mean_of(terms), rtol=0, atol=1e-12)
    metric = make()
    metric.update(*collate_masks(samples))
    found = metric.terms[next(iter(metric.figures))]
    assert [None if v != v else v for v in found.tolist()] == pytest.approx(terms)


def test_without_ties_it_is_the_hit_rate_of_torchmetrics():
    generator = torch.Generator().manual_seed(2)
    maps = torch.rand(30, HEIGHT, WIDTH, generator=generator)
    region = torch.rand(30, HEIGHT, WIDTH, generator=generator) > 0.5
    found = pointing_hits(maps, region)
    for value, saliency, inside in zip(found, maps, region, strict=True):
        assert value == retrieval_hit_rate(saliency.flatten(), inside.flatten(), top_k=1)
    assert 0 < found.mean() < 1


def test_ties_share_the_hit():
    box = [torch.tensor([[0, 0, 5, 8]])]
    half, right = torch.zeros(1, HEIGHT, WIDTH), torch.zeros(1, HEIGHT, WIDTH)
    half[0, 4, 2] = half[0, 4, 8] = 0.5
    right[0, 2:5, 1:5] = 1
    for maps, value in ((half, 0.5), (right, 1), (right / 2, 1), (torch.ones_like(half), 0.5)):
        metric = PointingGame()
        metric.update(maps, box)
        assert metric.compute() == value
    metric = PointingGame(tolerance=3)
    metric.update(half, box)  # its second maximum is 3 columns beyond the box's last one
    assert metric.compute() == 1
    assert set(metric.figures) == {"pointing_game_3"}


def test_an_empty_region_is_not_counted():
    metric = PointingGame()
    boxes = [torch.tensor([[WIDTH, 3, 20, 8]]), torch.tensor([[0, 0, WIDTH - 1, HEIGHT - 1]])]
    metric.update(torch.rand(2, HEIGHT, WIDTH), boxes)
    assert metric.counts.tolist() == [1]
    assert metric.compute() == 1
    assert metric.terms["pointing_game"].isnan().tolist() == [True, False]


def test_a_union_has_the_pixels_of_its_boxes():
    for saliency, boxes in maps_with_boxes()[:20]:
        assert box_union([boxes], saliency[None])[0].tolist() == pixels_of(boxes.tolist())
    left = box_union([torch.tensor([[-5, -3, 1, 0]])], torch.zeros(1, HEIGHT, WIDTH))
    assert left[0].nonzero().tolist() == [[0, 0], [0, 1]]


def test_bad_input_is_refused():
    maps, region = torch.rand(2, 4, 5), torch.ones(2, 4, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match="tolerance must be at least 0"):
        PointingGame(-1)
    with pytest.raises(ValueError, match="tolerance must be at least 0"):
        pointing_hits(maps, region, float("nan"))
    with pytest.raises(TypeError, match="region must be boolean"):
        pointing_hits(maps, region.int())
    with pytest.raises(TypeError, match="counted must be boolean"):
        pointing_hits(maps, region, counted=region.int())
    with pytest.raises(ValueError, match="two tensors"):
        pointing_hits(maps, region[:1])
    with pytest.raises(ValueError, match="boxes of 2 images"):
        PointingGame().update(maps, [torch.tensor([[0, 0, 2, 2]])])
    with pytest.raises(ValueError, match="must hold only 0"):
        MaskPointingGame().update(maps, torch.full((2, 4, 5), 7, dtype=torch.uint8))
