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
