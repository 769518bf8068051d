from importlib import import_module
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from skimage import filters, morphology
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from learned_saliency.losses import IGNORE, SeedSampler, sampling_regions
from learned_saliency.losses.seeds import pseudo_labels
from learned_saliency.ops import otsu_of_levels
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = np.load(FOLDER / "fcam.npz")
CAMS = torch.from_numpy(GOLDEN["cams"])
EROSIONS = (0, 11)  # first axis of the golden seeds


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(count, side, seed=0):
    """Smooth maps in [0, 1] without equal values."""
    coarse = torch.rand(count, 1, 5, 5, generator=seeded(seed), dtype=torch.float64)
    maps = F.interpolate(coarse, size=side, mode="bicubic")[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def counts(mask):
    return mask.sum(dim=(1, 2)).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_foreground_equals_published_sampler(dtype):
    maps = CAMS.to(dtype)
    plain, eroded = (sampling_regions(maps, 0.3, side).foreground for side in EROSIONS)
    used = torch.from_numpy(GOLDEN["otsu_used"]).view(-1, 1, 1)
    assert torch.equal(plain, ((255 * CAMS).to(torch.uint8) > used) & (used >= 0))
    assert counts(plain) == GOLDEN["fg_count"].tolist()
    assert counts(eroded) == GOLDEN["fg_count_eroded"].tolist()


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("index", range(3))
def test_background_is_the_lowest_share(index, seed):
    share, count = GOLDEN["bg_shares"][index], GOLDEN["bg_count"][index]
    generator = None if seed is None else seeded(seed)
    background = sampling_regions(CAMS, share, generator=generator).background
    assert counts(background) == count.tolist()
    largest = torch.where(background, CAMS, 0).amax(dim=(1, 2))
    expected = torch.from_numpy(np.where(count > 0, GOLDEN["bg_max"][index], np.float32(0)))
    torch.testing.assert_close(largest, expected, rtol=0, atol=0)
    below = background & (largest.view(-1, 1, 1) > CAMS)
    assert counts(below) == GOLDEN["bg_below"][index].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("erosion", EROSIONS)
def test_labels_of_whole_regions_equal_published_sampler(erosion, index, dtype):
    comparable = torch.from_numpy(~GOLDEN["bg_ties"][index])
    assert comparable.sum() >= 9
    labels = pseudo_labels(
        *sampling_regions(CAMS.to(dtype), GOLDEN["bg_shares"][index], erosion, seeded())
    )
    seeds = torch.from_numpy(GOLDEN["seeds"][EROSIONS.index(erosion), index]).long()
    expected = seeds.masked_fill(seeds == -1, IGNORE)
    torch.testing.assert_close(labels[comparable], expected[comparable], rtol=0, atol=0)


def test_map_without_foreground_gives_background_alone():
    index = int(np.flatnonzero(GOLDEN["fg_empty_crash"])[0])
    labels = SeedSampler()(CAMS[index : index + 1])
    assert (labels == 0).any()
    assert not (labels == 1).any()


@pytest.mark.parametrize("side", [0, 1, 3, 5, 9, 11, 25])
def test_regions_equal_scikit_image(side):
    maps = blobs(12, 40, seed=side).float()
    regions = sampling_regions(maps, 0.25, side)
    for saliency, foreground, background in zip(maps.numpy(), *regions, strict=True):
        levels = (255 * saliency).astype(np.uint8)
        expected = levels > filters.threshold_otsu(levels)
        if side:
            # mode "max": outside the image counts as foreground
            eroded = morphology.erosion(expected, np.ones((side, side), dtype=bool), mode="max")
            expected = eroded if eroded.any() else expected
        np.testing.assert_array_equal(foreground.numpy(), expected)
        lowest = np.zeros(saliency.size, dtype=bool)
        lowest[np.argsort(saliency, axis=None)[: int(0.25 * saliency.size)]] = True
        np.testing.assert_array_equal(background.numpy().ravel(), lowest)


def test_regions_of_an_image_do_not_depend_on_its_batch_mates():
    maps = blobs(5, 30)
    together = sampling_regions(maps, 0.4)
    for index in range(len(maps)):
        alone = sampling_regions(maps[index : index + 1], 0.4)
        torch.testing.assert_close(alone.foreground[0], together.foreground[index])
        torch.testing.assert_close(alone.background[0], together.background[index])


@pytest.mark.parametrize("dims", [(1,), (2,), (1, 2)])
def test_regions_turn_with_the_map(dims):
    maps = blobs(4, 31)
    regions, turned = sampling_regions(maps, 0.4), sampling_regions(maps.flip(dims), 0.4)
    torch.testing.assert_close(turned.foreground, regions.foreground.flip(dims))
    torch.testing.assert_close(turned.background, regions.background.flip(dims))


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_constant_map_gives_nothing(value):
    maps = torch.full((1, 16, 16), value)
    assert not torch.stack(sampling_regions(maps, 0.5)).any()
    assert (SeedSampler()(maps) == IGNORE).all()


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.5, 8), (1.0, 16)])
def test_background_share_spans_nothing_to_everything(share, expected):
    maps = torch.linspace(0, 1, 16).view(1, 4, 4)
    for generator in (None, seeded()):
        assert counts(sampling_regions(maps, share, 0, generator).background) == [expected]


def test_equal_pixels_enter_the_background_equally_often():
    # 12 of 24 pixels are zero and half of them may be background: every zero must be taken in
    # every second case, or seeds would favor one side of a rectified map.
    maps = torch.linspace(0.1, 1, 24).view(1, 4, 6).repeat(4000, 1, 1)
    maps[:, :, 1:4] = 0
    background = sampling_regions(maps, 0.25, 0, seeded(5)).background
    assert set(counts(background)) == {6}
    taken = background.sum(dim=0)
    assert taken[maps[0] > 0].sum() == 0
    assert chisquare(taken[maps[0] == 0].numpy()).pvalue > 1e-3


def test_equal_pixels_are_taken_in_reading_order_without_generator():
    maps = torch.tensor([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    expected = torch.tensor([[[True, False, True], [True, False, False]]])
    torch.testing.assert_close(sampling_regions(maps, 0.5, 0).background, expected)


def draw(maps, **options):
    options = {"dilation": 1, "erosion": 0, "background_share": 0.5, "seed": 7} | options
    return SeedSampler(**options)(maps)


def test_single_seeds_are_uniform_over_each_region():
    maps = blobs(1, 12)
    regions = sampling_regions(maps, 0.5, 0)
    assert not (regions.foreground & regions.background).any()
    labels = draw(maps.repeat(6000, 1, 1))
    for label, region in ((1, regions.foreground), (0, regions.background)):
        drawn = labels == label
        assert set(counts(drawn)) == {1}
        hits = drawn.sum(dim=0)
        assert hits[~region[0]].sum() == 0
        assert chisquare(hits[region[0]].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("number", [2, 3])
def test_every_subset_of_a_region_is_drawn_equally_often(number):
    maps = torch.zeros(1, 4, 5)
    maps[0, 1, 1:4], maps[0, 3, 0:3] = 1.0, 1.0  # a foreground of 6 pixels
    inside = maps[0].flatten().nonzero().flatten().tolist()
    labels = draw(maps.repeat(6000, 1, 1), foreground_pixels=number, background_pixels=0).flatten(1)
    chosen = [tuple(row.nonzero().flatten().tolist()) for row in labels == 1]
    subsets = list(combinations(inside, number))
    assert set(chosen) == set(subsets)
    assert chisquare([chosen.count(subset) for subset in subsets]).pvalue > 1e-3


def test_draws_of_foreground_and_background_are_independent():
    maps = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]).repeat(4000, 1, 1)
    labels = draw(maps)[:, 0]
    foreground, background = (labels == 1).float().argmax(1), (labels == 0).float().argmax(1)
    pairs = torch.bincount(2 * (foreground - 2) + background, minlength=4)
    assert chisquare(pairs.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("number", [1, 2, 5, 17])
def test_seeds_are_drawn_without_replacement(number):
    maps = blobs(20, 24)
    # A pixel of overlapping regions may be drawn twice, once for each region, and is dropped then.
    regions = sampling_regions(maps, 0.2, 0)
    assert not (regions.foreground & regions.background).any()
    options = {"foreground_pixels": number, "background_pixels": number}
    labels = draw(maps, background_share=0.2, **options)
    assert counts(labels == 1) == [number] * 20
    assert counts(labels == 0) == [number] * 20


def test_small_region_gives_all_it_has():
    maps = blobs(3, 10)
    regions = sampling_regions(maps, 0.1, 0)
    labels = draw(maps, foreground_pixels=1000, background_pixels=1000, background_share=0.1)
    torch.testing.assert_close(labels, pseudo_labels(*regions))


def test_no_pixels_asked_for_gives_no_labels():
    labels = draw(blobs(2, 10), foreground_pixels=0, background_pixels=0)
    assert (labels == IGNORE).all()


@pytest.mark.parametrize("dilation", [3, 5, 7])
def test_seeds_are_dilated_and_dropped_where_they_overlap(dilation):
    maps, number = blobs(10, 24), 6
    options = {"foreground_pixels": number, "background_pixels": number}
    pixels = draw(maps, **options)
    overlaps = 0
    for seeds, labels in zip(pixels, draw(maps, dilation=dilation, **options), strict=True):
        square = np.ones((dilation, dilation), dtype=bool)
        foreground = morphology.dilation((seeds == 1).numpy(), square, mode="min")
        background = morphology.dilation((seeds == 0).numpy(), square, mode="min")
        overlaps += (foreground & background).sum()
        expected = np.full(seeds.shape, IGNORE)
        expected[foreground & ~background] = 1
        expected[background & ~foreground] = 0
        np.testing.assert_array_equal(labels.numpy(), expected)
    assert overlaps > 0


def test_default_seed_is_a_square_of_three_pixels():
    maps = torch.zeros(1, 12, 12)
    maps[0, 0, 5] = 1.0
    labels = SeedSampler(background_pixels=0)(maps)
    expected = torch.full((1, 12, 12), IGNORE)
    expected[0, :2, 4:7] = 1  # cut off by the border
    torch.testing.assert_close(labels, expected)


def test_same_pixel_drawn_for_both_gets_no_label():
    maps = torch.tensor([[[0.0, 1.0]]])
    labels = draw(maps, background_share=1.0, background_pixels=2)
    assert labels.tolist() == [[[0, IGNORE]]]


def test_seeds_are_drawn_anew_and_repeat_after_reseeding():
    maps, sampler = blobs(4, 24), SeedSampler(seed=3)
    first, second = sampler(maps), sampler(maps)
    assert not torch.equal(first, second)
    sampler.reseed(3)
    torch.testing.assert_close(sampler(maps), first)
    torch.testing.assert_close(sampler(maps), second)
    sampler.reseed(4)
    assert not torch.equal(sampler(maps), first)


def test_given_generator_replaces_the_own_one():
    maps, sampler = blobs(4, 24), SeedSampler(seed=3)
    given = sampler(maps, seeded(11))
    torch.testing.assert_close(SeedSampler(seed=99)(maps, seeded(11)), given)
    torch.testing.assert_close(sampler(maps), SeedSampler(seed=3)(maps))


def test_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    SeedSampler()(blobs(2, 24))
    torch.testing.assert_close(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_labels_are_integers_without_gradient_and_maps_stay_unchanged(dtype):
    maps = blobs(2, 24).to(dtype).requires_grad_()
    before = maps.detach().clone()
    labels = SeedSampler()(maps)
    assert labels.dtype == torch.int64
    assert not labels.requires_grad
    torch.testing.assert_close(maps.detach(), before, rtol=0, atol=0)


def test_maps_may_be_views():
    maps = blobs(3, 24)
    strided = maps.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    torch.testing.assert_close(SeedSampler()(strided), SeedSampler()(maps))


class _OnDevice(TorchDispatchMode):
    """Operations on fake tensors of a GPU, none of which may go through its host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and args[0].is_cuda:
            assert kwargs.get("device") in (None, args[0].device)
        return func(*args, **kwargs)


def test_seeds_are_drawn_without_waiting_for_a_gpu(monkeypatch):
    def drawn(shape, generator):
        return torch.randint(2**62, shape, device="cuda")

    for module in ("losses.seeds", "losses.seed_regions", "losses.random_pixels"):
        monkeypatch.setattr(import_module(f"learned_saliency.{module}"), "random_integers", drawn)
    # Fake tensors raise an error where an operation depends on numbers that they do not have.
    with FakeTensorMode(allow_non_fake_inputs=True), _OnDevice():
        maps = torch.empty(3, 24, 24, device="cuda")
        labels = SeedSampler(foreground_pixels=2)(maps, seeded(), check=False)
        assert labels.is_cuda
        with pytest.raises(DataDependentOutputException):
            SeedSampler()(maps, seeded())


def test_thresholds_as_a_gpu_finds_them_are_those_of_a_cpu(monkeypatch):
    levels = (255 * CAMS).to(torch.uint8)
    expected = otsu_of_levels(levels)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch, "bincount", None)
    torch.testing.assert_close(otsu_of_levels(levels), expected, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_regions_are_the_same_on_a_gpu():
    regions = sampling_regions(CAMS, 0.3)
    on_gpu = sampling_regions(CAMS.cuda(), 0.3)
    torch.testing.assert_close(on_gpu.foreground.cpu(), regions.foreground)
    torch.testing.assert_close(on_gpu.background.cpu(), regions.background)
    assert SeedSampler()(CAMS.cuda()).is_cuda


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foreground_pixels": -1}, "at least 0"),
        ({"background_pixels": -1}, "at least 0"),
        ({"dilation": 2}, "dilation must be odd"),
        ({"dilation": 0}, "dilation must be odd"),
        ({"erosion": 4}, "erosion must be odd or 0"),
        ({"erosion": -3}, "erosion must be odd or 0"),
        ({"background_share": 1.5}, "background_share"),
        ({"background_share": float("nan")}, "background_share"),
    ],
)
def test_bad_options_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        SeedSampler(**options)


def test_bad_maps_are_rejected():
    with pytest.raises(ValueError, match="NaN"):
        SeedSampler()(torch.full((1, 4, 4), float("nan")))
    with pytest.raises(ValueError, match=r"\(B, H, W\)"):
        sampling_regions(torch.zeros(1, 1, 4, 4), 0.3)
    with pytest.raises(TypeError, match="floating point"):
        sampling_regions(torch.zeros(1, 4, 4, dtype=torch.int64), 0.3)


def test_bad_masks_are_rejected():
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    with pytest.raises(TypeError, match="bool"):
        pseudo_labels(mask, mask.long())
    with pytest.raises(ValueError, match=r"\(B, H, W\)"):
        pseudo_labels(mask, mask[:, :2])
