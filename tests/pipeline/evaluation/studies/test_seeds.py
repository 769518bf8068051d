"""Rightness of F-CAM's pseudo-labels, against all draws from small maps."""

from functools import partial
from importlib import import_module

import pytest
import torch

from learned_saliency.losses import sampling_regions
from learned_saliency.pipeline.evaluation.studies import Seeds
from learned_saliency.pipeline.evaluation.studies.seed_counts import SeedCounts

EROSIONS, SHARES = (0, 3, 5), (0.2, 0.6)


def small_maps():
    """Four maps with many equal pixels, the last one constant, and their truth."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 1, 3, 3, generator=generator)
    maps = torch.nn.functional.interpolate(coarse, (8, 7), mode="bilinear")[:, 0]
    maps = ((4 * maps).round() / 4).clamp(0, 1)
    maps[3] = 0.5
    masks = torch.randint(0, 2, (4, 8, 7), generator=generator).to(torch.uint8)
    masks[:, 2:4, 1:5] = 1
    masks[0, :, 5:] = 255
    masks[1, 4] = 255
    return maps, masks


def backgrounds(saliency, share, monkeypatch):
    """Give the background of a map for each start of the run of equal pixels."""
    last = saliency.flatten().sort().values[int(share * saliency.numel()) - 1]
    module = import_module(sampling_regions.__module__)
    for start in range(int((saliency == last).sum())):
        number = partial(torch.full, fill_value=start)
        monkeypatch.setattr(module, "random_integers", lambda shape, _, n=number: n(shape))
        yield sampling_regions(saliency[None], share, generator=torch.Generator()).background[0]


def square(region_pixel, truth, dilation):
    y, x = region_pixel
    r = dilation // 2
    return truth[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1]


def drawn(region, truth, dilation, right):
    """Average right and known pixels over all draws from a region; None without a pixel."""
    found = [square(p, truth, dilation) for p in region.nonzero().tolist()]
    if not found:
        return None
    hits = sum(int((s == right).sum()) for s in found) / len(found)
    return hits, sum(int((s != 255).sum()) for s in found) / len(found)


def counted(*batches, dilation=3, erosions=EROSIONS):
    metric = SeedCounts(erosions, SHARES, dilation)
    for maps, masks in batches:
        metric.update(maps, masks)
    return metric.compute()


@pytest.mark.parametrize("dilation", [1, 3])
def test_foreground_is_the_mean_over_all_draws(dilation):
    maps, masks = small_maps()
    found = counted((maps, masks), dilation=dilation)
    for index, erosion in enumerate(EROSIONS):
        regions = sampling_regions(maps, 0.2, erosion).foreground
        pairs = [drawn(r, m, dilation, 1) for r, m in zip(regions, masks, strict=True)]
        hits, known = zip(*(pair for pair in pairs if pair), strict=True)
        assert float(found.foreground[index]) == pytest.approx(sum(hits) / sum(known))
        kept = regions[:3]
        assert float(found.size[index]) == pytest.approx(float(kept.double().mean()))
        judged = [(r & (m != 255)).any() for r, m in zip(kept, masks, strict=False)]
        missed = [not (r & (m == 1)).any() for r, m in zip(kept, masks, strict=False)]
        both = [a and b for a, b in zip(judged, missed, strict=True)]
        assert float(found.missed[index]) == pytest.approx(sum(both) / sum(judged))
    assert float(found.without) == pytest.approx(1 / 4)


@pytest.mark.parametrize("dilation", [1, 3])
def test_background_is_the_mean_over_all_draws_and_all_choices_of_equal_pixels(
    dilation, monkeypatch
):
    maps, masks = small_maps()
    found = counted((maps, masks), dilation=dilation)
    for index, share in enumerate(SHARES):
        hits = known = 0.0
        for saliency, truth in zip(maps, masks, strict=True):
            turns = list(backgrounds(saliency, share, monkeypatch))
            pairs = [pair for pair in (drawn(r, truth, dilation, 0) for r in turns) if pair]
            hits += sum(pair[0] for pair in pairs) / len(turns)
            known += sum(pair[1] for pair in pairs) / len(turns)
        assert float(found.background[index]) == pytest.approx(hits / known)
        assert float(found.background_size[index]) == pytest.approx(int(share * 56) / 56)


def test_what_is_drawn_anywhere_is_right_as_often_as_the_object_is_large():
    maps, masks = small_maps()
    pairs = [drawn(torch.ones_like(m), m, 3, 1) for m in masks]
    hits, known = (sum(part) for part in zip(*pairs, strict=True))
    assert float(counted((maps, masks)).anywhere) == pytest.approx(hits / known)


def test_a_region_that_misses_the_object_and_one_that_erosion_would_empty_are_counted():
    maps = torch.zeros(3, 9, 9)
    maps[0, 1:8, 1:8] = 1  # holds a square of 5, none of 9
    maps[1, 0, 0] = 1
    maps[2, :, :4] = 1
    masks = torch.zeros(3, 9, 9, dtype=torch.uint8)
    masks[0, 4, 4] = masks[1, 5, 5] = masks[2, 8, 0] = 1
    masks[2, :, 2] = 255
    found = counted((maps, masks), erosions=(0, 5, 9), dilation=1)
    torch.testing.assert_close(found.missed, torch.tensor([1, 1, 1]).double() / 3)
    torch.testing.assert_close(found.emptied, torch.tensor([0, 1, 3]).double() / 3)


def test_images_of_unknown_truth_count_for_nothing_and_batches_do_not_matter():
    maps, masks = small_maps()
    unknown = torch.full_like(masks, 255)
    whole = counted((maps, masks), (maps, unknown))
    parts = counted(*((m[None], t[None]) for m, t in zip(maps, masks, strict=True)))
    torch.testing.assert_close(tuple(whole), tuple(parts))
    assert int(whole.images) == 4
    assert counted((maps, unknown)).foreground.isnan().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"erosions": [4]}, "erosion must be odd or 0, got 4"),
        ({"dilation": 2}, "dilation must be odd, got 2"),
        ({"background_shares": [0.1, 1.5]}, r"background_shares must be in \(0, 1\], got 1.5"),
        ({"background_share": 0}, r"background_shares must be in \(0, 1\], got 0"),
        ({"reference_size": 0}, "reference_size must be positive or None, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Seeds(**options)


def test_the_shown_values_join_the_grid():
    study = Seeds(erosions=[5, 0], background_shares=[0.5], erosion=3, background_share=0.25)
    assert (study.erosions, study.shares, study.shown) == ([0, 3, 5], [0.25, 0.5], (1, 0))
