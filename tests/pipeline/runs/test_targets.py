"""The key ``target``: what methods are built to explain, and mistakes in it."""

from functools import cache

import pytest
from omegaconf import OmegaConf

from learned_saliency.attribution import GradCAM, RawScores
from learned_saliency.pipeline.cli import UserError, check_values, compose_checked
from learned_saliency.pipeline.runs import build_evaluation, build_methods, target_record
from learned_saliency.pipeline.runs.explained import read_subject
from learned_saliency.pipeline.runs.targets import target_function
from learned_saliency.pipeline.training.checks import check_target
from tests.support import own_networks
from tests.support.own_networks import OWN


@cache
def defaults():
    return compose_checked([], "evaluate", complete=False)


def composed(**values):
    """The configuration of evaluate.py with some values; dots in keys are written as two lines."""
    config = defaults().copy()
    for key, value in values.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return config


def test_all_methods_explain_the_target():
    names = ["gradcam", "opticam", "smoothgrad", "fakecam", "rollout"]
    config = composed(methods=names, target="margin")
    found = build_methods(config)
    assert {method.target for method in found.values()} == {"margin"}
    assert found["opticam"].objective.selector == "margin"
    assert target_record(config, found) == {"target": "margin"}
    config = composed(methods=names)
    assert target_record(config, build_methods(config)) == {"target": "logit"}
    assert target_record(config, {}) == {}


def test_a_method_with_a_score_of_its_own_takes_the_logit_where_it_is_asked_for():
    names = ["rise", "meaningful", "occlusion", "cam", "fakecam", "camsuperset"]
    words = [method.target for method in build_methods(composed(methods=names[:3])).values()]
    assert words == ["probability", "probability", "logit"]
    function = "learned_saliency.attribution:RawScores"  # whose scores are no logits of classes
    for target in ("logit", function):
        found = build_methods(composed(methods=names, target=target))
        assert [found[name].target for name in names[:3]] == ["logit"] * 3


def test_methods_that_differ_are_recorded_one_by_one():
    config = composed(methods=["gradcam", "liftcam"], attribution__gradcam__target="probability")
    found = build_methods(config)
    assert target_record(config, found) == {
        "target": {"gradcam": "probability", "liftcam": "logit"}
    }


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        (["gradcam", "cam"], "target=probability: 'cam' explains the logit alone; leave"),
        (["camsuperset"], "'camsuperset' explains the logit alone"),
        (["amortized"], "'amortized' explains the logit alone"),
        (["opticam"], "attribution.opticam.selector=margin and target=probability differ"),
    ],
)
def test_methods_that_cannot_are_refused(methods, told):
    own = {"attribution__opticam__selector": "margin"}
    with pytest.raises(UserError, match=told):
        build_methods(composed(methods=methods, target="probability", **own))


def test_a_function_is_imported_and_a_class_called():
    assert target_function(composed()) is target_function(composed(target="margin")) is None
    assert target_function(composed(target=f"{OWN}:difference")) is own_networks.difference
    found = target_function(composed(target="learned_saliency.attribution:RawScores"))
    assert isinstance(found, RawScores)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nowhere:f", r"No module named 'nowhere' \(ModuleNotFoundError\)"),
        (f"{OWN}:f", "has no attribute 'f'"),
        (f"{OWN}:OWN", "is str, not a function"),
    ],
)
def test_functions_that_cannot_be_had_are_told(target, told):
    with pytest.raises(UserError, match=f"target={target}: .*{told}"):
        target_function(composed(target=target))


def test_other_words_are_refused_before_any_work():
    with pytest.raises(UserError, match=r"target=logits: expected logit, probability, .*MODULE"):
        check_values(composed(target="logits"))


def test_faithfulness_is_left_out_where_there_are_no_classes():
    options = build_evaluation(composed(target=f"{OWN}:difference", methods=["gradcam"]))
    assert options["faithfulness"] == []
    assert isinstance(options["methods"]["gradcam"], GradCAM)
    assert build_evaluation(composed(target="margin", methods=["gradcam"]))["faithfulness"]


def test_a_trained_map_and_a_training_explain_classes(tmp_path):
    (tmp_path / "best.ckpt").touch()
    config = composed(checkpoint=f"{tmp_path}/best.ckpt", target=f"{OWN}:difference")
    with pytest.raises(UserError, match=r"are no classes, .*; .* alone, classifier=.*best.ckpt"):
        read_subject(config, "evaluate.py")
    with pytest.raises(UserError, match="a training tests maps of its classes"):
        check_target(config)
