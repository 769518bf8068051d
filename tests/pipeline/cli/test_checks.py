"""The check of values: which key a message names, and what it says."""

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.checks import check_values
from learned_saliency.pipeline.cli.compose import check_command_line, compose_checked
from learned_saliency.pipeline.cli.errors import UserError


def refused(*words: str, name: str = "config") -> str:
    """Return what is told of a wrong command line: one line."""
    with pytest.raises(UserError) as caught:
        check_command_line(list(words), name, complete=name == "config")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("recipe.epochs=abc", "recipe.epochs=abc: expected an integer from 0 to 1000000."),
        ("recipe.epochs=null", "recipe.epochs=null: expected an integer"),
        ("recipe.epochs=1.5", "recipe.epochs=1.5: expected an integer"),
        ("recipe.lr=nan", "recipe.lr=nan: expected a number above 0"),
        ("recipe.erosion=4", "recipe.erosion=4: expected an odd integer"),
        ("model.loss.crf.weight=abc", "model.loss.crf.weight=abc: expected a number from 0 on"),
        ("model.loss=3", "model.loss=3: expected a group of keys"),
        ("data.reader=3", "data.reader=3: expected a group of keys or null"),
        ("data.mean=[0,a]", "data.mean=[0,a]: expected a list [a,b,...], each a number"),
        ("data.superset=clas", "a .csv or .txt file of groups; the nearest: class"),
        ("data.superset=wordnet:x", "expected one of all, class, wordnet, wordnet:DEPTH or a"),
        ("attribution.opticam.iterations=abc", "attribution.opticam.iterations=abc: expected"),
        ("trainer.devices=0", "trainer.devices=0: expected a number of devices from 1 on"),
        ("trainer.precision=bla", "expected one of 32-true, bf16-mixed, 16-mixed, 64-true"),
        ("pictures.images=-1", "pictures.images=-1: expected an integer from 0 to 1000"),
        ("output_dir=", "output_dir=: expected a path"),
        ("data.root='~nobody-has-this-name/x'", "expected a path, with names of up to 255 bytes"),
        (f"output_dir=a/{'x' * 300}", "expected a path, with names of up to 255 bytes"),
        (f"classifier={'x/' * 3000}", "expected a path, with names of up to 255 bytes"),
        ("data.class_names='~nobody-has-this-name/x'", "no ~NAME of a user who does not exist"),
        ("backbone.pretrained='~nobody-has-this-name/x'", "expected true, false or a file"),
        ("seed=true", "seed=true: expected an integer from 0 to 4294967295"),
        ("+trainer.foo=1", "trainer.foo=1 is refused: it is no argument of lightning.Trainer."),
        ("+trainer.presicion=1", "the nearest: trainer.precision"),
        ("+trainer.max_epochs=1", "trainer.max_epochs=1 is refused: it is the number of epochs"),
        ("+nothing=1", "nothing is no key of the configuration, so that it would do nothing"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_is_expected(word, told):
    assert told in refused(word)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("experiment=nope", "experiment=nope is no choice of 'experiment'"),
        ("data=null", "data=null is no choice of 'data'; there are: chestxray"),
        ("seed=1,2", "seed=1,2: has several values, which need -m"),
        ("recipe.lr=choice(1,2)", "has several values, which need -m"),
        ("~logger", "~logger: a run needs this key"),
        ("~data.name", "~data.name: a run needs this key"),
        ("~model.module.optimizer", "~model.module.optimizer: a run needs this key"),
        ("~model.module.optimizer._target_", "_target_: a run needs this key"),
        ("seed=${seed}", "data.seed: Recursive interpolation detected"),
        ("recipe.lr=${nothing}", "refers to 'nothing', which does not exist"),
        (
            "model.pseudo_labels=gradcan",
            "model.pseudo_labels=gradcan refers to 'attribution.gradcan', which does not exist; "
            "the nearest: gradcam",
        ),
        ("recipe.lr=${data.name}", "data.name=creatures: expected a number above 0 for model"),
        (f"seed={'9' * 5000}", "is not understood"),
        ("pictures=null", "pictures=null: expected a group of keys"),
        ("model.network=null", "model.network=null: expected a group of keys"),
        ("+trainer.strategy.x=1", "trainer.strategy.x=1 is refused"),
        ("=3", "is no key of the configuration"),
    ],
)
def test_what_hydra_passes_over_or_tells_at_length_is_one_sentence(word, told):
    message = refused(word)
    assert told in message
    assert len(message) < 2000


def test_arguments_of_parts_may_be_taken_away():
    check_command_line(["~backbone.channels", "~trainer.log_every_n_steps"])
    check_command_line(["~model.module.optimizer.nesterov"])
    check_command_line(["~model.first_stage.module.optimizer.momentum"])


def test_a_value_is_told_by_the_key_that_it_was_given_by():
    told = refused("model=cam", "recipe.classifier_epochs=0")
    assert told == (
        "recipe.classifier_epochs=0: expected an integer from 1 to 1000000 for model.epochs."
    )
    check_command_line(["model=fcam", "recipe.classifier_epochs=0"])  # it comes trained


@pytest.mark.parametrize(
    ("name", "word", "told"),
    [
        ("evaluate", "split=train", "split=train: expected one of test, val"),
        ("evaluate", "studies=[removal] studies.removal.fractions=[2]", "fractions=[2]: expected"),
        ("evaluate", "+data.batch_size=abc", "data.batch_size=abc: expected an integer"),
        ("predict", "input.std=[0,1,1]", "input.std=[0,1,1]: expected a list"),
        ("predict", "opacity=2", "opacity=2: expected a number from 0 to 1"),
        ("export", "tolerance=nan", "tolerance=nan: expected a number from 0"),
        ("convert", "published=3", "published=3: expected a path"),
        ("doctor", "workers=0", "workers=0: expected an integer from 1"),
        ("guard", "old=A new=B level=1", "level=1: expected a number above 0.5 and below 1"),
    ],
)
def test_every_command_checks_its_values(name, word, told):
    assert told in refused(*word.split(), name=name)


def test_a_wrong_value_of_a_sweep_is_found():
    assert "seed=a: expected" in refused("-m", "seed=0,a")


def test_a_key_without_a_row_keeps_the_type_of_its_default():
    defaults = compose_checked([])
    OmegaConf.set_struct(defaults, False)
    defaults.recipe.strength, defaults.recipe.deep = 3, True

    def check(key, value):
        config = defaults.copy()
        config.recipe[key] = value
        check_values(config, lambda: defaults)

    check("strength", 4)
    for key, value, told in (("strength", 1.5, "an integer"), ("deep", 1, "true or false")):
        with pytest.raises(UserError, match=rf"recipe\.{key}={value}: expected {told}"):
            check(key, value)


def test_missing_values_and_references_to_them_are_passed_over():
    check_values(compose_checked([], "evaluate", complete=False))
    check_values(compose_checked(["data=wsol"], complete=False))
