"""Values of a search, given or drawn."""

import math
import statistics

import pytest

from learned_saliency.pipeline.cli import UserError, check_trials, read_trials
from learned_saliency.pipeline.cli.compose import compose_checked


def trials(*words):
    return read_trials(compose_checked(words, "search"))


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("cam", "recipe.classifier_lr"),
        ("calm", "recipe.lr"),
        ("casm", "recipe.lr"),
        ("fcam", "recipe.lr"),
    ],
)
def test_the_benchmarks_rates_are_30_log_uniform_draws_of_the_models_own_rate(model, key):
    found = trials("search=lr", f"model={model}")
    assert found.key == key
    assert len(found.values) == len(set(found.values)) == 30
    assert all(1e-5 <= value <= 1 for value in found.values)
    decades = sorted(math.floor(math.log10(value)) for value in found.values)
    assert set(decades) == {-5, -4, -3, -2, -1}
    assert found == trials("search=lr", f"model={model}")
    assert found.values != trials("search=lr", f"model={model}", "search.seed=1").values


def test_draws_are_even_in_the_scale_that_is_asked_for():
    words = ["search.key=recipe.lr", "search.low=0.001", "search.high=1", "search.count=900"]
    even = trials(*words).values
    assert statistics.fmean(even) == pytest.approx(0.5, abs=0.05)
    logs = [math.log10(value) for value in trials(*words, "search.log=true").values]
    assert statistics.fmean(logs) == pytest.approx(-1.5, abs=0.1)
    assert statistics.pstdev(logs) == pytest.approx(3 / 12**0.5, abs=0.1)


def test_whole_numbers_are_drawn_for_keys_that_want_them():
    words = ["search.low=1", "search.high=3", "search.count=20"]
    assert sorted(trials("search.key=recipe.epochs", *words).values) == [1, 2, 3]


def test_values_that_are_given_count_instead_of_a_draw():
    assert trials("search=lr", "search.values=[0.1,0.01]").values == [0.1, 0.01]
    assert trials("search=background_share").values == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    lam = compose_checked(["search=lambda", "model=casm"], "search")
    assert read_trials(lam).key == "model.loss.size_weight"
    assert (lam.search.metric, lam.search.target) == ("map_mean", 0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "search.key has no value: choose a ready-made search, search=lr"),
        (["search.key=recipe.erosoin"], "is no key .*; the nearest: recipe.erosion"),
        (["search.key=backbone"], "search.key=backbone: is a group of keys"),
        (["search.key=output_dir"], "search.key=output_dir: its values cannot be compared"),
        (["search.key=recipe.lr"], "search.low has no value: give search.values"),
        (["search.key=recipe.lr", "search.values=[]"], "holds no value"),
        (["search.key=recipe.lr", "search.values=[0.1,0.2,0.1]"], "holds 0.1 twice"),
        (["search.key=recipe.lr", "search.values=[0.1,0]"], "recipe.lr=0: expected a number above"),
        (["search.key=recipe.lr", "search.values=[{a:1}]"], "holds a group of keys"),
        (["search=lr", "search.low=0"], "search.low=0: has to be above 0 with search.log=true"),
        (["search=lr", "search.low=2"], "search.low=2: has to be below search.high=1"),
        (["search=lr", "search.high=null"], "search.high has no value"),
        (["search=background_share", "model=cam"], "recipe.background_share: is no key"),
    ],
)
def test_what_cannot_be_searched_is_told_before_any_training(words, message):
    with pytest.raises(UserError, match=message):
        check_trials(compose_checked(words, "search"))
