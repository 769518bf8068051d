import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from learned_saliency.losses import otsu_threshold
from learned_saliency.ops.otsu import to_8_bit
from tests.support.paths import GOLDEN as FOLDER

GOLDEN = np.load(FOLDER / "fcam.npz")


def random_levels(generator, count, side):
    """8-bit maps from nearly binary to white noise, all with at least two levels."""
    sizes = generator.integers(2, 256, count)
    maps = [generator.integers(0, size, (side, side)) for size in sizes]
    maps = np.stack([level * generator.integers(1, 255 // level.max() + 1) for level in maps])
    maps[:, 0, 0], maps[:, 0, 1] = 0, maps.max(axis=(1, 2))
    return maps.astype(np.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threshold_equals_published_sampler(dtype):
    maps = torch.from_numpy(GOLDEN["cams"]).to(dtype)
    expected = torch.from_numpy(GOLDEN["otsu"]).long()
    torch.testing.assert_close(otsu_threshold(maps), expected, rtol=0, atol=0)


@pytest.mark.parametrize("side", [3, 13, 64])
def test_threshold_equals_scikit_image(side):
    levels = random_levels(np.random.default_rng(side), 60, side)
    expected = torch.tensor([int(threshold_otsu(level)) for level in levels])
    threshold = otsu_threshold(torch.from_numpy(levels))
    torch.testing.assert_close(threshold, expected, rtol=0, atol=0)


def test_threshold_of_float_map_is_that_of_its_truncated_levels():
    generator = torch.Generator().manual_seed(3)
    maps = torch.rand(8, 20, 20, generator=generator).square()
    expected = [int(threshold_otsu((255 * m).astype(np.uint8))) for m in maps.numpy()]
    assert otsu_threshold(maps).tolist() == expected


def test_rounding_of_scikit_image_decides_between_equal_thresholds():
    # The histogram is symmetric, so the thresholds 2 and 3 are equally good in exact arithmetic.
    counts = np.array([1239, 1377, 1761, 98, 1761, 1377, 1239])
    levels = np.repeat(np.arange(7, dtype=np.uint8), counts).reshape(1, 1, -1)
    assert threshold_otsu(levels[0]) == 3
    assert otsu_threshold(torch.from_numpy(levels)).tolist() == [3]


def test_threshold_by_hand():
    # Levels 10, 10, 20, 200: the variances w1 * w2 * (m1 - m2)^2 of the cuts after 10 and after 20
    # are 2 * 2 * 100^2 and 3 * 1 * 186.67^2; the second is larger, and so for every cut up to 199.
    levels = torch.tensor([[[10, 10], [20, 200]]], dtype=torch.uint8)
    assert otsu_threshold(levels).tolist() == [20]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_map_has_no_threshold(value):
    assert otsu_threshold(torch.full((1, 4, 5), value)).tolist() == [-1]


def test_constant_map_leaves_batch_mates_alone():
    maps = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([otsu_threshold(saliency.unsqueeze(0)) for saliency in maps])
    batch = torch.stack((torch.zeros(6, 6), *maps, torch.ones(6, 6)))
    assert otsu_threshold(batch).tolist() == [-1, *alone.tolist(), -1]


def test_map_of_one_pixel_has_no_threshold():
    assert otsu_threshold(torch.ones(2, 1, 1)).tolist() == [-1, -1]


def test_threshold_ignores_flips_and_leaves_input_unchanged():
    maps = torch.rand(4, 9, 7, generator=torch.Generator().manual_seed(1))
    before = maps.clone()
    torch.testing.assert_close(otsu_threshold(maps.flip(2)), otsu_threshold(maps))
    torch.testing.assert_close(maps, before, rtol=0, atol=0)


def test_levels_are_truncated():
    maps = torch.tensor([[[0.0, 0.999 / 255, 1.001 / 255, 254.9 / 255, 1.0]]])
    assert to_8_bit(maps).tolist() == [[[0, 0, 1, 254, 255]]]


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        (torch.zeros(1, 2, 2, dtype=torch.int64), TypeError, "floating point or uint8"),
        (torch.zeros(2, 2), ValueError, r"\(B, H, W\)"),
        (torch.zeros(0, 2, 2), ValueError, "non-empty"),
        (torch.zeros(2, 2, dtype=torch.uint8), ValueError, r"\(B, H, W\)"),
        (torch.tensor([[[0.0, 1.01]]]), ValueError, r"\[0, 1\]"),
        (torch.tensor([[[-0.01, 1.0]]]), ValueError, r"\[0, 1\]"),
        (torch.tensor([[[0.0, float("nan")]]]), ValueError, "NaN"),
    ],
)
def test_bad_maps_are_rejected(maps, error, message):
    with pytest.raises(error, match=message):
        otsu_threshold(maps)
