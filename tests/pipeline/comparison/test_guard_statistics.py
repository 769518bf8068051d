"""The tests behind a guard: against SciPy and brute force, and their simulated size."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from learned_saliency.pipeline.comparison.guard_statistics import (
    holm,
    interval,
    p_below,
    pooled_deviation,
    sample,
    student,
    student_interval,
)

#: Differences with mean 0: normal, many small losses with few large gains, and the mirrored.
KINDS = {
    "normal": lambda random, shape: random.normal(size=shape) * 0.1,
    "gains": lambda random, shape: (random.exponential(size=shape) - 1) * 0.1,
    "losses": lambda random, shape: (1 - random.exponential(size=shape)) * 0.1,
}


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 39, 40, 639, 5000])
def test_student_is_scipys(freedom):
    for t in (-40.0, -4.0, -1.7, -0.2, 0.0, 0.9, 6.0):
        assert student(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-13)


def test_symmetric_differences_get_students_p_value_and_no_others_a_smaller_one():
    random = np.random.default_rng(0)
    half = random.normal(size=12) * 0.1
    even = np.concatenate([half, -half]) - 0.12
    expected = stats.ttest_1samp(even, -0.05, alternative="less").pvalue
    assert p_below(sample(even), -0.05) == pytest.approx(expected, rel=1e-6)
    for n in (5, 9, 40):
        drawn = random.exponential(size=n) * 0.1 - 0.2
        least = stats.ttest_1samp(drawn, -0.05, alternative="less").pvalue
        assert p_below(sample(drawn), -0.05) >= least - 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [5, 12, 200])
def test_the_test_just_rejects_the_ends_of_the_interval(kind, n):
    drawn = KINDS[kind](np.random.default_rng(n), n) - 0.1
    low, high = interval(sample(drawn), 0.9)
    assert low < drawn.mean() < high
    assert p_below(sample(drawn), high) == pytest.approx(0.05, abs=1e-9)
    assert p_below(sample(-drawn), -low) == pytest.approx(0.05, abs=1e-9)


def test_equal_differences_leave_no_doubt():
    assert p_below(sample(np.full(5, -0.2)), -0.05) == 0
    assert p_below(sample(np.full(5, -0.05)), -0.05) == 1
    assert interval(sample(np.full(5, -0.25)), 0.95) == (-0.25, -0.25)


def test_a_gain_of_nine_in_ten_pictures_is_certain_among_ten_places():
    changes = np.array([0.29, -0.02, 0.14, 0.20, 0.22, 0.17, 0.21, 0.23, 0.10, 0.16])
    found = student_interval(sample(changes), 1 - 0.05 / 10)
    error = changes.std(ddof=1) / 10**0.5
    assert found == pytest.approx(stats.t.interval(0.995, 9, changes.mean(), error))
    assert found == pytest.approx((0.07, 0.27), abs=2e-3)
    assert student_interval(sample(np.array([-1.0, 1.0])), 0.995) == (-1.0, 1.0)


@pytest.mark.parametrize(("kind", "least"), [("normal", 0.94), ("gains", 0.69), ("losses", 0.69)])
def test_intervals_of_ten_places_hold_together_as_often_as_documented(kind, least):
    drawn = KINDS[kind](np.random.default_rng(3), (600, 10, 10))
    ends = [[student_interval(sample(x), 0.995) for x in table] for table in drawn]
    low, high = np.moveaxis(np.array(ends), 2, 0)
    assert ((low <= 0) & (high >= 0)).all(1).mean() >= least - 0.04


def test_a_least_deviation_counts_where_it_is_larger():
    close = np.array([-0.2, -0.21, -0.2, -0.19, -0.2])
    assert p_below(sample(close), -0.1) < 1e-4 < 0.1 < p_below(sample(close, 0.2), -0.1)
    assert sample(close, 1e-6) == sample(close)


@pytest.mark.parametrize("drawn", [np.zeros(1), np.zeros((2, 2)), np.array([0.1, np.nan])])
def test_what_is_no_sample_is_refused(drawn):
    with pytest.raises(ValueError, match="at least 2 finite numbers"):
        sample(drawn)


def test_pooled_deviation_is_that_around_the_means_of_the_groups():
    groups = [np.array([0.1, 0.3]), np.array([0.5]), np.array([-0.1, 0.0, 0.4])]
    squares = 2 * 0.1**2 + (0.2**2 + 0.1**2 + 0.3**2)
    assert pooled_deviation(groups) == pytest.approx((squares / 3) ** 0.5)
    assert pooled_deviation([np.array([0.5])]) == 0


def test_holm_is_the_closed_test_by_bonferroni():
    random = np.random.default_rng(0)
    for _ in range(50):
        p_values = (random.random(5) ** 3).tolist()
        for i, adjusted in enumerate(holm(p_values)):
            others = [k for k in range(5) if k != i]
            sets = [(i, *more) for size in range(5) for more in combinations(others, size)]
            closed = max(min(1.0, len(s) * min(p_values[k] for k in s)) for s in sets)
            assert adjusted == pytest.approx(closed)


# Most of 1000 tables at the edge of what is allowed that may be rejected at 2.5 %. By more tables,
# and other sizes: docs/guard.md.
@pytest.mark.parametrize(
    ("kind", "n", "most"),
    [
        *(("normal", n, 0.036) for n in (5, 10, 40, 640)),
        *(("losses", n, 0.036) for n in (5, 10, 40, 640)),
        *(("gains", n, most) for n, most in ((5, 0.1), (10, 0.08), (40, 0.05), (640, 0.043))),
    ],
)
def test_false_alarms_are_as_rare_as_promised(kind, n, most):
    drawn = KINDS[kind](np.random.default_rng(7), (1000, n))
    rejected = [p_below(sample(table), 0.0) <= 0.025 for table in drawn]
    assert np.mean(rejected) <= most
