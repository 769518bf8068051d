"""The verdict of a guard: by brute force on tables, and its errors over all classes together."""

import numpy as np
import pytest
from scipy import stats

from learned_saliency.pipeline.comparison.guard_verdict import Limits, judge

LIMITS = Limits(tolerance=0.05, class_tolerance=0.1, level=0.95, per_class=True)


def p_of(change, bound, deviation):
    """Compute the larger of Student's and Hall's p-values from their equations, with SciPy."""
    n = len(change)
    t = (change.mean() - bound) / (deviation / n**0.5)
    skew = stats.skew(change)
    hall = t + skew * t**2 / (3 * n**0.5) + skew**2 * t**3 / (27 * n) + skew / (6 * n**0.5)
    return max(stats.t.cdf(t, n - 1), stats.t.cdf(hall, n - 1))


def brute_force(change, labels):
    """Find all that moved, as the documentation says it."""
    moved = {None} if 2 * p_of(change, -0.05, change.std(ddof=1)) <= 0.05 else set()
    classes = sorted(set(labels[labels >= 0].tolist()))
    squares = sum(((change[labels == k] - change[labels == k].mean()) ** 2).sum() for k in classes)
    pooled = (squares / sum((labels == k).sum() - 1 for k in classes)) ** 0.5
    left = {}
    for k in classes:
        own = change[labels == k]
        if len(own) >= 5:
            left[k] = p_of(own, -0.1, max(pooled, own.std(ddof=1)))
    while left:  # Holm, step by step, at half of the error
        k = min(left, key=left.get)
        if left[k] > 0.025 / len(left):
            break
        moved.add(k)
        del left[k]
    return moved


def test_the_verdict_is_that_of_brute_force():
    seen = set()
    for seed in range(60):
        random = np.random.default_rng(seed)
        labels = random.choice([-1, 0, 1, 2, 3, 4], 90, p=[0.1, 0.3, 0.3, 0.17, 0.1, 0.03])
        old = random.uniform(0.4, 0.9, 90)
        loss = random.choice([0.0, 0.1, 0.3], 5)[labels] * random.uniform(0, 1.5, 90)
        new = np.clip(old - loss + random.normal(0, 0.06, 90), 0, 1)
        verdict = judge(old, new, labels, LIMITS)
        moved = {found.label for found in verdict.moved}
        assert moved == brute_force(new - old, labels)
        assert verdict.overall.moved == (verdict.overall.high < -0.05)
        seen |= {(None in moved, bool(moved - {None}))}
    assert len(seen) == 4  # overall, classes, both and neither


def test_a_class_that_lost_much_is_found_among_others_and_named():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 10)
    old = random.uniform(0.5, 0.7, 80)
    new = old + random.normal(0, 0.03, 80) - 0.3 * (labels == 5)
    verdict = judge(old, new, labels, LIMITS)
    assert [found.label for found in verdict.moved] == [5]
    found = verdict.classes[0]
    assert (found.label, found.images) == (5, 10)
    assert found.change == pytest.approx((new - old)[labels == 5].mean())
    assert found.low < found.change < found.high < -0.1
    alone = judge(old, new, labels, LIMITS._replace(per_class=False))
    assert alone.classes == []
    assert alone.overall == verdict.overall


def test_small_classes_and_images_without_a_class_are_not_judged():
    labels = np.array([0] * 6 + [1] * 5 + [2] * 4 + [-1] * 3)
    old = np.full(18, 0.5)
    verdict = judge(old, old - 0.4 * (labels == 2), labels, LIMITS)
    assert sorted(found.label for found in verdict.classes) == [0, 1]
    assert verdict.too_few == {2: 4}
    assert verdict.overall.images == 18


def test_one_class_is_no_other_than_all_images():
    old = np.linspace(0.3, 0.6, 12)
    verdict = judge(old, old - 0.2, np.full(12, 3), LIMITS)
    assert verdict.classes == []
    assert verdict.too_few == {}
    assert verdict.overall.moved


@pytest.mark.parametrize("rare", [0.0, 0.1])
def test_classes_of_few_images_alarm_falsely_together_as_rarely_as_promised(rare):
    # all classes at the edge: normal changes, or 10 % of the images gain much and the others lose
    random, alarms = np.random.default_rng(1), 0
    labels = np.repeat(np.arange(16), 6)
    for _ in range(300):
        change = random.normal(0, 0.03, 96) + ((random.random(96) < rare) - rare) * 0.6
        verdict = judge(np.full(96, 0.5), 0.5 + change - 0.1, labels, LIMITS)
        alarms += any(found.moved for found in verdict.classes)
    assert alarms <= 14  # 2.5 % of 300 are 7.5; 14 or fewer with 98.5 %


def test_too_few_images_or_others_are_refused():
    few = np.zeros(4)
    with pytest.raises(ValueError, match="expected 5 pairs or more"):
        judge(few, few, few.astype(int), LIMITS)
