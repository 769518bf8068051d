"""The pool's policies over thousands of simulated iterations."""

from collections import Counter
from itertools import pairwise

import pytest
import torch

from learned_saliency.trainers import SnapshotPool


def simulate(pool, iterations):
    """Run a pool over a training whose only weight is the number of the iteration.

    Gives what was drawn in each iteration, None for the current classifier, and the pool's births
    at that time.
    """
    drawn, born = [], []
    for _ in range(iterations):
        now = pool.iteration
        if pool.is_due():
            pool.take({"weight": torch.tensor(now)})
        born.append(pool.born)
        snapshot = pool.draw()
        drawn.append(None if snapshot is None else int(snapshot["weight"]))
    return drawn, born


@pytest.mark.parametrize("thinning", ["F", "L"])
def test_first_and_last_alone_need_no_snapshots(thinning):
    pool = SnapshotPool(thinning)
    drawn, _ = simulate(pool, 500)
    assert set(drawn) == {None}
    assert len(pool) == 0
    assert pool.trains is (thinning == "L")


def test_first_and_last_are_drawn_equally_often():
    pool = SnapshotPool("FL")
    drawn, _ = simulate(pool, 4000)
    counts = Counter(drawn)
    assert set(counts) == {None, 0}  # the first: as it was before the first iteration
    assert abs(counts[0] - 2000) < 4 * 1000**0.5  # four standard deviations of 4000 fair coins
    assert len(pool) == 1


@pytest.mark.parametrize(("thinning", "period"), [("L100", 100), ("L1000", 1000), ("L7", 7)])
def test_one_classifier_each_period_is_kept_until_the_pool_is_full(thinning, period):
    pool = SnapshotPool(thinning, size=5)
    _, born = simulate(pool, 5 * period)
    for iteration, kept in enumerate(born):
        assert kept == list(range(0, iteration + 1, period))


def test_a_full_pool_replaces_one_at_random():
    pool = SnapshotPool("L2", size=30)
    _, born = simulate(pool, 20_000)
    places = Counter()
    for before, after in pairwise(born):
        changed = [i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b]
        if len(before) == len(after) == 30 and changed:
            (place,) = changed
            places[place] += 1
    total = sum(places.values())
    assert total == 10_000 - 30
    expected, spread = total / 30, (total / 30) ** 0.5
    assert all(abs(places[i] - expected) < 4.5 * spread for i in range(30))
    assert max(len(kept) for kept in born) == 30


def test_ages_are_geometric_as_random_replacement_makes_them():
    """A snapshot survives k replacements with probability (29/30)^k: mean age of 30 periods."""
    pool = SnapshotPool("L1", size=30)
    _, born = simulate(pool, 12_000)
    ages = [now - birth for now, kept in enumerate(born) if now > 2000 for birth in kept]
    mean = sum(ages) / len(ages)
    assert 27 < mean < 31  # 29 on average, the newest being 0 old
    old = sum(age >= 60 for age in ages) / len(ages)
    assert abs(old - (29 / 30) ** 60) < 0.02


@pytest.mark.parametrize("probability", [0.0, 0.5, 0.8, 1.0])
def test_the_current_classifier_has_its_share_and_the_others_share_the_rest(probability):
    pool = SnapshotPool("L100", size=4, current_probability=probability)
    drawn, _ = simulate(pool, 400)
    pool.period = 10**9  # no more snapshots
    drawn, _ = simulate(pool, 8000)
    counts = Counter(drawn)
    assert abs(counts[None] - 8000 * probability) <= 4 * (2000**0.5)
    rest = [counts[birth] for birth in (0, 100, 200, 300)]
    assert sum(rest) + counts[None] == 8000
    share = 8000 * (1 - probability) / 4
    assert all(abs(count - share) <= 4 * max(share, 1) ** 0.5 for count in rest)


def test_two_processes_draw_the_same_and_other_seeds_draw_otherwise():
    first, second, other = (simulate(SnapshotPool("L3", seed=s), 600)[0] for s in (5, 5, 6))
    assert first == second
    assert first != other


@pytest.mark.parametrize("stop", [1, 99, 100, 101, 3500])
def test_a_restored_pool_goes_on_as_if_nothing_had_happened(stop):
    whole, broken, fresh = (SnapshotPool("L50", size=6, seed=3) for _ in range(3))
    expected = simulate(whole, stop + 700)
    simulate(broken, stop)
    fresh.load_state_dict(broken.state_dict())
    drawn, born = simulate(fresh, 700)
    assert drawn == expected[0][stop:]
    assert born == expected[1][stop:]


def test_the_global_random_state_neither_matters_nor_changes():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = simulate(SnapshotPool("L10"), 100)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert simulate(SnapshotPool("L10"), 100) == first


@pytest.mark.parametrize("on_device", [False, True])
def test_snapshots_are_copies(on_device):
    pool = SnapshotPool("FL", current_probability=0.0, on_device=on_device)
    weight = torch.ones(3, requires_grad=True)
    pool.take({"weight": weight})
    with torch.no_grad():
        weight += 1
    drawn = pool.draw()["weight"]
    assert drawn.tolist() == [1, 1, 1]
    assert not drawn.requires_grad


@pytest.mark.parametrize("thinning", ["", "f", "L0", "L-1", "LF", "F100", "100", None])
def test_an_unknown_thinning_is_refused(thinning):
    with pytest.raises(ValueError, match="thinning must be"):
        SnapshotPool(thinning)


def test_numbers_out_of_range_are_refused():
    for options in ({"size": 0}, {"current_probability": 1.5}, {"seed": -1}):
        with pytest.raises(ValueError, match="size of 1 or more"):
            SnapshotPool("L", **options)
