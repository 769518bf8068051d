"""The command line: what composes, and what is said of mistakes."""

import subprocess
import sys
from itertools import product

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.choices import config_groups
from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.cli.words import hydra_words
from learned_saliency.pipeline.comparison.published import published_rows
from learned_saliency.pipeline.runs.methods import build_methods
from tests.support.paths import ROOT

GROUPS = config_groups()
DOWNLOADED = ("chestxray", "folder", "kvasir", "parquet", "webdataset")
NEEDED = {
    "wsol": ["data.root=somewhere", "data.metadata=somewhere/metadata"],
    "cub": ["data.root=somewhere"],
    **{name: ["data.root=somewhere"] for name in DOWNLOADED},
    "imagenet": ["data.root=somewhere"],
    "openimages": ["data.root=somewhere"],
    "pets": ["data.root=somewhere"],
    "photos": ["data.root=somewhere"],
    **{name: ["data.root=somewhere"] for name in ("coco", "labels", "nih", "voc")},
    "timm": ["backbone.name=resnet18"],
    "vit": ["backbone.name=vit_tiny_patch16_224"],
}


def needed(*choices: str) -> list[str]:
    return [word for choice in choices for word in NEEDED.get(choice, [])]


@pytest.mark.parametrize(("model", "data"), list(product(GROUPS["model"], GROUPS["data"])))
def test_every_model_composes_with_every_data_set(model, data):
    config = compose_checked([f"model={model}", f"data={data}", *needed(data)])
    assert config.model.name == model
    assert config.data.name == data


@pytest.mark.parametrize("data", GROUPS["data"])
def test_the_defaults_of_every_data_set_pass_the_checks_of_values(data):
    check_command_line([f"data={data}", *needed(data)])


# those of the papers are composed and compared with their tables in tests/pipeline/comparison
@pytest.mark.parametrize("experiment", sorted({*GROUPS["experiment"]} - {*published_rows()}))
def test_every_experiment_composes_and_fixes_every_choice(experiment):
    place = ["data.root=somewhere", "data.metadata=somewhere"]
    data = compose_checked([f"experiment={experiment}", *place])
    assert data.backbone.pretrained or data.data.name == "creatures"  # which no weights exist for
    assert data.model.name != "fcam" or data.model.loss.crf.weight == 1.1e-9


@pytest.mark.parametrize("model", sorted({*GROUPS["model"]} - {"cam"}))
def test_an_experiment_composes_with_other_models(model):
    compose_checked(["experiment=fcam_cub_resnet50", f"model={model}", "data.root=somewhere"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["first_stage=fcam"], "no choice of 'first_stage'"),  # which is built on one itself
        (["model=cam", "first_stage=cam"], "leave it out"),
    ],
)
def test_a_first_stage_that_does_not_fit_is_refused(words, told):
    with pytest.raises(UserError, match=told):
        check_command_line(hydra_words(words))


def test_the_first_stage_of_a_model_is_a_choice():
    config = check_command_line(hydra_words(["model=casm", "first_stage=cam"]))
    assert config.model.first_stage.name == "cam"
    assert config.model.first_stage.monitor == config.recipe.classifier_monitor


def test_the_pretrained_creatures_serve_calm_and_its_cam():
    words = ["experiment=calm_pretrained_creatures"]
    assert compose_checked(words).model.network.activation == "relu"
    cam = compose_checked([*words, "model=cam", "model.monitor=accuracy"])
    default = compose_checked(["model=cam", "data=creatures"])
    assert cam.model.network.keys() == default.model.network.keys()
    assert compose_checked(["model=calm"]).model.network.activation == "softplus"


@pytest.mark.parametrize("group", ["backbone", "trainer", "logger"])
def test_every_other_choice_composes(group):
    for choice in GROUPS[group]:
        compose_checked([f"{group}={choice}", *needed(choice)])


@pytest.mark.parametrize("choice", GROUPS["attribution"])
def test_every_method_is_built(choice):
    names = ["cam", "gradient", "integratedgradients", "smoothgrad", "vargrad", "opticam"]
    methods = build_methods(compose_checked([f"attribution={choice}", f"methods={names}"]))
    assert list(methods) == names
    released = choice == "calm_released"
    for name in names[1:5]:
        assert (methods[name].blur_sigma == 0) is released
    for name in names[2:5]:
        assert methods[name].averages == ("saliency" if released else "gradient")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("model=fcamm", "fcam"),
        ("modell=fcam", "model"),
        ("model.epocs=3", "model.epochs"),
        ("model.loss.crf.wieght=1", "model.loss.crf.weight"),
        ("trainer.devises=2", "trainer.devices"),
        ("model.pseudo_labels=camm", "cam"),
        ("backbone=resnet51", "resnet50"),
        ("~modle", "modle is no key"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest_valid_one(word, told):
    with pytest.raises(UserError) as caught:
        check_command_line([word])
    message = str(caught.value)
    assert told in message
    assert "\n" not in message


def test_a_misspelt_value_of_a_sweep_is_found():
    with pytest.raises(UserError, match="nearest: fcam"):
        check_command_line(["-m", "model=cam,fcamm", "seed=0,1"])
    check_command_line(["-m", "model=cam,fcam", "seed=0,1"])


@pytest.mark.parametrize(
    "words",
    [
        ["trainer@x=ddp"],
        ["backbone=.5"],
        ["backbone=0", "backbone=0"],
        ["backbone={a:1}"],
        [f"recipe/method={'x' * 5000}"],
        ["+defaults=[null]"],
        ["[[[["],
        ["'=1"],
        [f"{'y' * 3000}=["],
        ["seed=0,1"],
        ["trainer.accelerator=cpu,gpu"],
        ["-m", "seed=range(0,1000000000)"],
    ],
)
def test_odd_words_are_refused_in_a_sentence(words):
    with pytest.raises(UserError) as caught:
        check_command_line(words)
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) < 2100


def test_a_missing_value_is_named():
    with pytest.raises(UserError, match=r"data\.(metadata|root) has no value"):
        check_command_line(["data=wsol"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["studies=[cue]"], "studies=cue is no choice of 'studies'; the nearest: cues"),
        (["studies=[removal,cue]"], "studies=cue is no choice of 'studies'; the nearest: cues"),
        (["studies=remval"], "the nearest: removal"),
        (["studies.cues.scale=log"], "it comes with studies=[cues]"),
        (["studies=[cues]", "studies.cues.scal=log"], "the nearest: studies.cues.scale"),
        (["studies=[cues]", "studies.removal.seed=1"], "it comes with studies=[removal]"),
    ],
)
def test_a_misspelt_word_of_a_list_of_choices_is_answered_likewise(words, told):
    with pytest.raises(UserError) as caught:
        check_command_line(words, "evaluate", complete=False)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_studies_stand_beside_each_other_with_their_options():
    words = ["studies=[removal,cues]", "studies.cues.scale=log"]
    config = compose_checked(words, "evaluate", complete=False)
    assert list(config.studies) == ["removal", "cues"]
    assert config.studies.cues.scale == "log"
    assert not compose_checked([], "evaluate", complete=False).studies


@pytest.mark.parametrize("name", GROUPS["studies"])
def test_every_study_is_built_under_its_name_with_the_defaults_of_its_class(name):
    options = compose_checked([f"studies=[{name}]"], "evaluate", complete=False).studies[name]
    built = instantiate(options)
    assert built.name == name
    assert vars(built) == vars(type(built)())


def test_words_that_are_no_assignments_are_refused():
    with pytest.raises(UserError, match="key=value"):
        check_command_line(["fcam"])


def test_an_ablation_is_a_matter_of_configuration():
    """Tab. D.1 of F-CAM: SR, SR+CRF, SR+ASC and all."""
    both = compose_checked(["model.loss.crf=null", "model.loss.size_weight=null"])
    assert OmegaConf.to_container(both.model.module.loss)["crf"] is None
    assert both.model.module.loss.size_weight is None
    assert compose_checked(["model.loss.crf=null"]).model.module.loss.size_weight == 0.1
    assert (
        compose_checked(["model.loss.size_weight=null"]).model.module.loss.crf.backend == "lattice"
    )


def test_a_mistake_is_one_line():
    wrong = subprocess.run(
        [sys.executable, "train.py", "model=fcamm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert wrong.returncode == 2
    assert wrong.stderr.strip().count("\n") == 0
    assert "fcam" in wrong.stderr
