"""Tests of bootstrap intervals: scipy as oracle, missing terms, tables on disk."""

import numpy as np
import pytest
from scipy import stats

from learned_saliency.pipeline.reports import (
    bootstrap_interval,
    draws,
    interval_ends,
    intervals,
    without_bias,
    write_intervals,
)

TABLE = """image_id,method,label,predicted,target,x0,y0,x1,y1,iou,average_drop
a,cam,0,0,0,1,1,2,2,0.5,0.1
a,gradcam,0,0,0,1,1,2,2,0.25,
b,cam,1,0,1,1,1,2,2,1.0,0.3
b,gradcam,1,0,1,1,1,2,2,0.75,
"""


def test_ends_agree_with_scipy_up_to_the_draws():
    terms = np.random.default_rng(0).beta(0.5, 2.0, size=(150, 2))
    ours = bootstrap_interval(terms, resamples=20_000)
    for column, ends in zip(terms.T, ours.T, strict=True):
        theirs = stats.bootstrap(
            (column,), np.mean, n_resamples=20_000, method="percentile", rng=1
        ).confidence_interval
        np.testing.assert_allclose(ends, theirs, atol=1.5e-3)  # the intervals are 0.08 wide


def test_intervals_hold_the_true_mean_about_as_often_as_they_say():
    generator = np.random.default_rng(0)
    terms = generator.normal(size=(60, 400))  # 400 experiments with 60 images each
    low, high = bootstrap_interval(terms, seed=1)
    share = np.mean((low <= 0) & (high >= 0))
    assert 0.91 <= share <= 0.97


def test_the_best_of_many_thresholds_is_held_once_its_bias_is_corrected():
    generator = np.random.default_rng(0)
    thresholds = np.linspace(0, 1, 100)

    def hits(count):  # each image between two thresholds of its own
        middles = generator.normal(0.4, 0.2, size=(count, 1))
        return np.abs(thresholds - middles) <= generator.uniform(0, 0.3, size=(count, 1))

    truth = hits(100_000).mean(0).max()
    held = {"as drawn": [], "corrected": []}
    for seed in range(150):
        found = hits(80).astype(float)
        best = found.mean(0).max(keepdims=True)
        drawn = np.concatenate([(w @ found).max(1) / 80 for w in draws(80, 300, seed)])[:, None]
        for name, values in (("as drawn", drawn), ("corrected", without_bias(drawn, best))):
            low, high = interval_ends(values)[:, 0]
            held[name].append(low <= truth <= high)
    assert np.mean(held["as drawn"]) < 0.8
    assert np.mean(held["corrected"]) > 0.85


def test_methods_share_the_draws_and_parts_of_the_draws_do_not_matter(monkeypatch):
    column = np.random.default_rng(0).uniform(size=(30, 1))
    both = bootstrap_interval(np.hstack([column, column + 1]))
    np.testing.assert_allclose(both[:, 1], both[:, 0] + 1)
    module = "learned_saliency.pipeline.reports.bootstrap._CHUNK"
    monkeypatch.setattr(module, 100)
    again = bootstrap_interval(np.hstack([column, column + 1]))
    np.testing.assert_allclose(again, both, rtol=1e-14)


def test_images_without_a_term_do_not_count():
    terms = np.array([[1.0, np.nan, 0.5], [2.0, np.nan, np.nan], [3.0, np.nan, np.nan]])
    low, high = bootstrap_interval(terms)
    assert low[0] < 2 < high[0]
    assert np.isnan([low[1], high[1]]).all()
    assert low[2] == high[2] == 0.5


@pytest.mark.parametrize(
    ("terms", "options", "words"),
    [
        (np.zeros((0, 2)), {}, "at least one image"),
        (np.zeros(3), {}, r"expected terms \(N, K\)"),
        (np.zeros((2, 2)), {"level": 1.0}, r"level in \(0, 1\)"),
        (np.zeros((2, 2)), {"resamples": 0}, "resamples >= 1"),
    ],
)
def test_bad_arguments_are_refused(terms, options, words):
    with pytest.raises(ValueError, match=words):
        bootstrap_interval(terms, **options)


def test_a_table_of_images_gives_a_row_per_method_and_metric(tmp_path):
    table = tmp_path / "images.csv"
    table.write_text(TABLE)
    found = intervals(tmp_path)
    names = [("cam", "iou"), ("cam", "average_drop"), ("gradcam", "iou")]
    assert list(found) == [*names, ("cam", "accuracy"), ("gradcam", "accuracy")]
    assert found["cam", "accuracy"] == (0.5, 0.0, 1.0, 2)  # the class of b is not the predicted one
    assert found["cam", "iou"].mean == 0.75
    assert found["cam", "iou"][1:] == (0.5, 1.0, 2)
    rows = write_intervals(tmp_path).read_text().splitlines()
    assert rows[0] == "method,metric,mean,low,high,images"
    assert rows[2] == "cam,average_drop,0.2,0.1,0.3,2"


def test_a_table_without_rows_gives_none(tmp_path):
    table = tmp_path / "images.csv"
    table.write_text(TABLE.splitlines()[0] + "\n")
    assert intervals(tmp_path) == {}
