"""Post-hoc methods with trained parts of a run, and methods that start from others."""

import pytest
import torch

from learned_saliency.attribution import Amortized, OptiCAM
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.runs import (
    build_methods,
    check_measurements,
    load_module,
    read_checkpoint,
)
from learned_saliency.trainers import FIGURES
from tests.support.untrained import untrained_run


@pytest.fixture(scope="module")
def runs(creatures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    words = {
        "weights": ["model=amortized", "recipe.form=weights", "model.mask.normalization=max"],
        "decoder": ["model=amortized", "recipe.form=decoder"],
        "cam": ["model=cam"],
    }
    return {name: untrained_run(creatures, folder / name, *given) for name, given in words.items()}


def methods(*words):
    return build_methods(compose_checked(list(words), "evaluate", complete=False))


@pytest.mark.parametrize("form", ["weights", "decoder"])
def test_a_run_gives_its_own_map_as_a_method_and_to_other_runs(runs, form):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    module = load_module(read_checkpoint(runs[form], "best.ckpt")).eval()
    own = methods(f"checkpoint={runs[form]}", "methods=[amortized]")["amortized"]
    other = methods(
        f"checkpoint={runs['cam']}",
        "methods=[amortized]",
        f"attribution.amortized.checkpoint={runs[form]}",
    )["amortized"]
    with torch.no_grad():
        native = module.saliency(images)
    for method in (own, other):
        torch.testing.assert_close(method(module.classifier, images), native)
    assert own.mask.normalization == ("max" if form == "weights" else "range")


def test_opticam_starts_where_another_method_ends(runs):
    found = methods(
        f"checkpoint={runs['weights']}",
        "methods=[opticam]",
        "attribution.opticam.start=amortized",
        "attribution.opticam.iterations=7",
        "target=margin",
    )["opticam"]
    assert (found.target, found.start.target) == ("margin", "logit")  # the trained gradient
    assert isinstance(found, OptiCAM)
    assert isinstance(found.start, Amortized)
    assert found.iterations == 7
    assert methods("methods=[opticam]")["opticam"].start is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["methods=[amortized]", "classifier=timm:resnet18"],
            r"attribution\.amortized\.checkpoint has no value: name a run",
        ),
        (
            ["methods=[amortized]", "checkpoint={cam}"],
            "checkpoint: .* holds a 'cam' model, .*; name a run of model=amortized",
        ),
        (
            ["methods=[amortized]", "attribution.amortized.checkpoint=nowhere"],
            "nowhere: there is no such checkpoint",
        ),
        (
            ["methods=[opticam]", "attribution.opticam.start=cam"],
            "start=cam: gives nothing to start from; amortized does",
        ),
        (
            ["methods=[opticam]", "attribution.opticam.start=amortised"],
            "start: no method is named 'amortised'; the nearest: amortized",
        ),
        (
            ["methods=[opticam]", "attribution.opticam.start=opticam"],
            "start: no method is named 'opticam'",
        ),
    ],
)
def test_what_cannot_be_built_is_told_in_one_sentence(runs, words, told):
    with pytest.raises(UserError, match=told) as caught:
        methods(*(word.format(cam=runs["cam"]) for word in words))
    assert str(caught.value).count(". ") == 0


def test_classes_are_given_by_name_or_number():
    names = ["wolf", "husky", "dog (2)", "dog (3)", "dog"]
    words = ["methods=[calm_subset,calm_counterfactual]", "classifier=timm:resnet18"]
    words += ["attribution.calm_counterfactual.classes=husky"]

    def built(given, names=names):
        config = compose_checked(
            [*words, f"attribution.calm_subset.classes={given}"], "evaluate", complete=False
        )
        return build_methods(config, names)

    found = built("[husky,3,0,dog]")
    assert found["calm_subset"].classes == [1, 3, 0, 4]
    assert found["calm_counterfactual"].classes == [1]
    for given, told in (
        ("[huskie]", "attribution.calm_subset.classes: no class is named 'huskie'; the nearest: h"),
        ("[5]", "attribution.calm_subset.classes: 5 is none of the 5 classes, from 0"),
    ):
        with pytest.raises(UserError, match=told):
            built(given)
    with pytest.raises(UserError, match=r"'wolf' is no number, .* give numbers"):
        built("[wolf]", None)
    words += ["attribution.calm_counterfactual.classes=[1,husky]"]
    with pytest.raises(UserError, match="calm_counterfactual: classes must be one or"):
        built("[1]")


def test_metrics_that_explain_altered_images_are_refused_for_maps_without_a_method():
    check_measurements(["average_drop", "adcc"], {"method"})
    told = "'adcc' needs a method.*leave the metric out"
    with pytest.raises(UserError, match=told):
        check_measurements(["average_drop", "adcc"], {"boxes", "masks"})


@pytest.mark.parametrize("need", ["boxes", "masks"])
def test_metrics_of_a_ground_truth_are_refused_where_the_split_has_none(need, monkeypatch):
    class Needing(FIGURES["average_drop"].metric):
        needs = frozenset({need})

    monkeypatch.setitem(FIGURES, "needing", FIGURES["average_drop"]._replace(metric=Needing))
    check_measurements(["needing"], {need})
    with pytest.raises(UserError, match=f"evaluate.faithfulness: 'needing' needs the {need}"):
        check_measurements(["needing"], {"method"})
