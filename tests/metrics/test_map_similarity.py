"""Similarity of two maps: rank correlation, SSIM, HOG; scipy and scikit-image are the oracles."""

import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from skimage.feature import hog
from skimage.metrics import structural_similarity as skimage_ssim

from learned_saliency.metrics import (
    MapSimilarity,
    hog_correlation,
    rank_correlation,
    structural_similarity,
)

SIDE = 28


def maps(seed, count=5):
    """Smooth maps, and one with many ties, scaled to [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 5, 5, generator=draw)
    found = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")[:, 0]
    found[1] = (found[1] * 2).round()
    low, high = found.amin((1, 2), keepdim=True), found.amax((1, 2), keepdim=True)
    return (found - low) / (high - low)


def by_hand(first, second, raw_first, raw_second):
    """The four similarities of one image, by other libraries."""
    shape = {"pixels_per_cell": (2, 2), "cells_per_block": (3, 3)}
    histograms = [hog(each.numpy(), **shape) for each in (first, second)]
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return {
        "rank_correlation": spearmanr(raw_first.flatten(), raw_second.flatten()).statistic,
        "absolute_rank_correlation": spearmanr(
            raw_first.abs().flatten(), raw_second.abs().flatten()
        ).statistic,
        "ssim": skimage_ssim(first.numpy(), second.numpy(), data_range=1.0, **window),
        "hog": pearsonr(*histograms).statistic,
    }


def test_means_are_those_of_scipy_and_scikit_image():
    first, second = maps(0), 0.6 * maps(1) + 0.4 * maps(0)
    raw = first * 3 - 1, second - 0.4
    rows = [by_hand(*parts) for parts in zip(first, second, *raw, strict=True)]
    metric = MapSimilarity()
    metric.update(first[:2], second[:2], raw[0][:2], raw[1][:2])
    metric.update(first[2:], second[2:], raw[0][2:], raw[1][2:])
    found = metric.compute()
    for name in rows[0]:
        mean = sum(row[name] for row in rows) / len(rows)
        assert float(found[name]) == pytest.approx(mean, abs=1e-4), name
    assert float(found["flat"]) == 0
    for function, name in (
        (structural_similarity, "ssim"),
        (hog_correlation, "hog"),
    ):
        expected = [row[name] for row in rows]
        assert function(first, second).tolist() == pytest.approx(expected, abs=1e-4)
    assert rank_correlation(*raw).tolist() == pytest.approx(
        [row["rank_correlation"] for row in rows], abs=1e-6
    )


def test_a_map_is_like_itself_and_unlike_its_inverse():
    first = maps(2)
    metric = MapSimilarity()
    metric.update(first, first)
    found = metric.compute()
    assert [float(found[name]) for name in list(found)[:4]] == pytest.approx([1] * 4)
    torch.testing.assert_close(rank_correlation(first, 1 - first), -torch.ones(5).double())
    torch.testing.assert_close(rank_correlation(first, first**3), torch.ones(5).double())


def test_constant_maps_do_not_look_like_anything():
    """A constant first map does not count, a constant second one has lost everything."""
    first, second = maps(3), maps(4)
    flat = torch.zeros(SIDE, SIDE)
    expected = MapSimilarity()
    expected.update(first[2:], second[2:])
    one = MapSimilarity()
    first[0], second[0] = flat, flat  # both constant: SSIM alone would be 1
    first[1] = flat
    one.update(first, second)
    found, plain = one.compute(), expected.compute()
    assert float(found["flat"]) == pytest.approx(0.4)
    for name in list(found)[:4]:
        assert float(found[name]) == pytest.approx(float(plain[name]))
    lost = MapSimilarity()
    lost.update(maps(3), flat.expand(5, SIDE, SIDE))
    assert [float(value) for value in lost.compute().values()] == [0.0] * 5
    nothing = MapSimilarity()
    nothing.update(flat[None], maps(3)[:1])
    values = {name: float(value) for name, value in nothing.compute().items()}
    assert values.pop("flat") == 1
    assert all(value != value for value in values.values())


def test_two_processes_have_the_sums_of_one():
    first, second = maps(5), maps(6)
    whole, shares = MapSimilarity(), [MapSimilarity(), MapSimilarity()]
    whole.update(first, second)
    shares[0].update(first[:2], second[:2])
    shares[1].update(first[2:], second[2:])
    shares[0].merge_state(shares[1])
    for name, value in whole.compute().items():
        torch.testing.assert_close(shares[0].compute()[name], value)


def test_what_is_no_pair_of_maps_is_refused():
    metric = MapSimilarity()
    with pytest.raises(ValueError, match="two tensors"):
        metric.update(maps(0), maps(0)[:3])
    with pytest.raises(ValueError, match="at least 11 pixels"):
        metric.update(torch.rand(2, 8, 20), torch.rand(2, 8, 20))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        metric.update(maps(0), maps(0) + 1)
