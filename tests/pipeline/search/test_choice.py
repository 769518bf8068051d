"""Choice among the runs of a search."""

import math

import pytest

from learned_saliency.pipeline.cli import Trials, UserError
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.search import Rule, choose
from learned_saliency.pipeline.search.choice import given_rule, own_rule

HIGHEST, LOWEST = Rule("pxap", True), Rule("le", False)
HALF = Rule("map_mean", None, 0.5)
NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "rule", "chosen"),
    [
        ([0.2, 0.6, 0.4], HIGHEST, 1),
        ([0.2, 0.6, 0.4], LOWEST, 0),
        ([0.2, 0.6, 0.45], HALF, 2),
        ([0.2, 0.75, 0.25], HALF, 1),  # equally near: the first
        ([0.3, 0.6, 0.6], HIGHEST, 1),
        ([NAN, None, 0.1], HIGHEST, 2),
        ([NAN, None, 0.1, 0.0], LOWEST, 3),
        ([None, NAN, 0.9], HALF, 2),
        ([NAN, None], HIGHEST, None),
        ([], HALF, None),
    ],
)
def test_the_first_of_the_best_is_chosen(scores, rule, chosen):
    assert choose(scores, rule) == chosen


def test_a_metric_brings_its_direction_or_its_target():
    assert own_rule("max_box_acc") == Rule("max_box_acc", True)
    assert own_rule("le") == Rule("le", False)
    trials = Trials("recipe.lr", [0.1, 0.01])
    given = {
        "pxap": Rule("pxap", True),
        "map_mean": HALF,
        "map_mean search.target=0.3": Rule("map_mean", None, 0.3),
    }
    for words, rule in given.items():
        config = compose_checked(f"search.metric={words}".split(), "search")
        assert given_rule(config, trials, {"labels", "boxes", "masks"}) == rule
    assert given_rule(compose_checked([], "search"), trials, {"labels"}) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.metric=pxpa"], "is no metric of `val`; the nearest: pxap"),
        (["search.metric=pxap"], "pxap: needs masks, but the split `val` has none"),
        (["search.metric=map_std"], "better neither higher nor lower; give search.target"),
        (["search.metric=zerobox_cutout"], r"add zerobox.also=\[zerobox_cutout\]"),
        (["search.target=0.5"], "search.target=0.5: needs search.metric"),
    ],
)
def test_metrics_that_cannot_choose_are_told(words, message):
    config = compose_checked(words, "search")
    with pytest.raises(UserError, match=message):
        given_rule(config, Trials("recipe.lr", [0.1, 0.01]), {"labels", "boxes"})


def test_runs_that_different_metrics_choose_are_not_compared():
    trials = Trials("recipe.monitor", ["accuracy", "pxap"])
    with pytest.raises(UserError, match=r"different metrics; give search\.metric"):
        given_rule(compose_checked([], "search"), trials, {"labels"})
