"""Tests of paired intervals: brute force and scipy as oracles, and how often they cover."""

import numpy as np
import pytest
import torch
from scipy import stats

from learned_saliency.metrics import MaxBoxAccV2, PxAP
from learned_saliency.pipeline.comparison.estimates import (
    Values,
    compute_values,
    estimates,
    unpaired_estimates,
)
from learned_saliency.pipeline.comparison.matching import scores_of
from learned_saliency.pipeline.comparison.student import t_quantile
from learned_saliency.pipeline.reports import ImageScores, draws, read_saved
from tests.support.evaluations import made_maps, made_truth, write_evaluation


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two evaluations of 40 images, with truth and maps."""
    folder, truth = tmp_path_factory.mktemp("two"), made_truth(40)
    maps = {name: made_maps(truth, noise, k) for k, (name, noise) in enumerate(NOISE.items())}
    saved = [
        read_saved(write_evaluation(folder / name, truth, {"native": found}))
        for name, found in maps.items()
    ]
    return truth, maps, saved


NOISE = {"a": 0.6, "b": 1.2}


def from_terms(terms):
    """Scores of images by a mean alone."""
    ids = [str(i) for i in range(len(terms))]
    return ImageScores(ids, [("m", "x")], np.asarray(terms)[:, None], {})


def difference(one, other, resamples=2000, level=0.95, columns=(("m", "x"),)):
    """Estimate the difference of two lists of trainings' scores."""
    found = [compute_values(members, columns, resamples, 0) for members in (one, other)]
    return estimates(found[0].minus(found[1]), level, 0)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_paired_intervals_of_means_agree_with_scipy_up_to_the_draws(level):
    generator = np.random.default_rng(0)
    common = generator.normal(size=120)
    one, other = (common + generator.normal(size=120) / 4 + shift for shift in (0.1, 0))
    ours = difference([from_terms(one)], [from_terms(other)], 20_000, level)[0]
    theirs = stats.bootstrap(
        (one, other),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=True,
        n_resamples=20_000,
        confidence_level=level,
        method="percentile",
        rng=1,
    ).confidence_interval
    np.testing.assert_allclose(ours.images, theirs, atol=2e-3)  # they are about 0.1 wide
    assert ours.value == pytest.approx(one.mean() - other.mean())
    assert ours.trainings is None


def test_draws_of_pxap_and_max_box_acc_agree_with_the_metrics_of_the_drawn_images(two):
    truth, maps, saved = two
    columns = [("native", "pxap"), ("native", "max_box_acc_v2")]
    scores = [scores_of(one, one.scores.image_ids, "native") for one in saved]
    values = [compute_values([one], columns, 5, 3) for one in scores]
    ours = values[0].minus(values[1])
    weights = np.concatenate(list(draws(40, 5, 3))).astype(int)
    differences = []
    for drawn in [np.ones(40, int), *weights]:
        picked = torch.from_numpy(np.repeat(np.arange(40), drawn))
        expected = []
        for of_map in maps.values():
            pixels, boxes = PxAP(), MaxBoxAccV2()
            pixels.update(of_map[picked], truth["mask"][picked])
            boxes.update(of_map[picked], [truth["boxes"][i] for i in picked])
            expected.append([float(pixels.compute()), float(boxes.compute())])
        differences.append(np.subtract(*expected))
    value, of_draws = differences[0], np.array(differences[1:])
    np.testing.assert_allclose(ours.values[0], value, atol=1e-12)
    np.testing.assert_allclose(ours.drawn[0], of_draws, atol=1e-12)
    corrected = of_draws - 2 * (of_draws.mean(0) - value)
    np.testing.assert_allclose(ours.without_bias().drawn[0], corrected, atol=1e-12)


def test_a_run_beside_itself_has_no_difference_on_any_images(two):
    scores = scores_of(two[2][0], two[2][0].scores.image_ids, "native")
    names = scores.names()
    for found in difference([scores], [scores], 50, columns=names):
        assert found.value == 0
        assert found.images == (0, 0)


@pytest.mark.parametrize("probability", [0.6, 0.975, 0.9995, 1 - 1e-9, 0.025])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 101])
def test_quantiles_of_students_t_agree_with_scipy(probability, freedom):
    expected = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 2), (1.0, 2), (0.9, 0)])
def test_quantiles_beyond_the_range_are_refused(probability, freedom):
    with pytest.raises(ValueError, match="expected probability"):
        t_quantile(probability, freedom)


def trainings(values):
    """Values of S trainings by one metric, with draws that do not vary."""
    values = np.asarray(values)[:, None]
    return Values(values, np.repeat(values[:, None], 400, axis=1), np.ones(values.shape[1], bool))


def test_intervals_over_seeds_are_students():
    seeds = [0.2, 0.5, 0.3, 0.7]
    spread = estimates(trainings(seeds), 0.9, 0)[0].trainings
    mean, std = np.mean(seeds), np.std(seeds, ddof=1)
    assert spread.std == pytest.approx(std)
    expected = stats.t.interval(0.9, 3, loc=mean, scale=std / 2)
    np.testing.assert_allclose(spread.mean, expected)
    further = stats.t.interval(0.9, 3, loc=mean, scale=std * np.sqrt(1 + 1 / 4))
    np.testing.assert_allclose(spread.single, further)


def test_trainings_without_a_pair_have_welchs_interval():
    one, other = [0.2, 0.5, 0.3, 0.7, 0.1], [0.9, 0.5, 0.75]
    spread = unpaired_estimates(trainings(one), trainings(other), 0.95, 0)[0].trainings
    theirs = stats.ttest_ind(one, other, equal_var=False)
    exact = theirs.confidence_interval(0.95)
    scale = stats.t.ppf(0.975, np.floor(theirs.df)) / stats.t.ppf(0.975, theirs.df)
    center = np.mean(one) - np.mean(other)
    np.testing.assert_allclose(spread.mean, center + (np.array(exact) - center) * scale)


def covered(intervals, truth):
    low, high = np.array(intervals).T
    return np.mean((low <= truth) & (truth <= high))


def test_of_three_seeds_students_interval_covers_and_the_bootstrap_does_not():
    generator = np.random.default_rng(0)
    found = [
        estimates(trainings(generator.normal(size=3)), 0.95, k)[0].trainings for k in range(1500)
    ]
    further = generator.normal(size=1500)
    low, high = np.array([one.single for one in found]).T
    assert 0.935 <= covered([one.mean for one in found], 0) <= 0.965
    assert 0.935 <= np.mean((low <= further) & (further <= high)) <= 0.965
    assert covered([one.images_too for one in found], 0) < 0.85  # images do not vary here


def test_resampled_seeds_and_images_cover_more_than_images_where_trainings_vary():
    generator = np.random.default_rng(0)
    found = []
    for _ in range(150):  # 6 trainings, each with a mean of its own, on 80 images
        effects, images = 0.3 * generator.normal(size=6), generator.normal(size=80)
        terms = effects[:, None] + images + generator.normal(size=(6, 80))
        members = [from_terms(one) for one in terms]
        values = compute_values(members, [("m", "x")], 300, 0)
        found.append(estimates(values, 0.95, 0)[0])
    of_images = covered([one.images for one in found], 0)
    assert of_images < 0.85 < 0.87 <= covered([one.trainings.images_too for one in found], 0)
