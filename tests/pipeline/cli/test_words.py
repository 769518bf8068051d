"""Words of the command line: paths of every command, and arguments of the trainer."""

import pytest
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import (
    check_command_line,
    compose_checked,
    hydra_words,
    named_keys,
)
from learned_saliency.pipeline.commands import COMMANDS

ODD = "my runs (1), [a]/epoch=0-step=3, it's.ckpt"
KEYS = {
    "train": [
        *("classifier", "resume", "output_dir", "data.root", "data.metadata", "data.mask_root"),
        *("data.class_names", "backbone.pretrained"),
    ],
    "evaluate": ["checkpoint", "classifier", "weights", "output_dir", "data.root"],
    "predict": ["checkpoint", "classifier", "weights", "class_names", "images", "out", "classes"],
    "export": ["checkpoint", "out", "verify_images"],
    "convert": ["published", "output_dir", "data.root"],
    "data": ["output_dir", "data.root", "data.metadata", "data.class_names"],
    "guard": ["old", "new", "output_dir", "junit"],
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in KEYS for key in KEYS[name]])
def test_paths_need_no_quoting_in_any_command(name, key):
    command = COMMANDS[name]
    words = command.words([f"{key}={ODD}"])
    config = compose_checked(words, command.config_name, complete=False)
    assert OmegaConf.select(config, key) == ODD


def test_bare_words_are_places_whatever_is_in_their_names(tmp_path):
    command, present = COMMANDS["compare"], tmp_path / "model=cam"
    present.mkdir()
    words = command.words(["--cfg", "job", ODD.replace("=", ""), str(present), "level=0.9", "${a}"])
    assert words[1:] == ["--cfg", "job", "level=0.9"]
    config = compose_checked([words[0], "level=0.9"], "compare")
    assert list(config.runs) == [ODD.replace("=", ""), str(present), "${a}"]
    assert command.words(["runs=[a,b]"]) == ["runs=[a,b]"]


def test_places_may_refer_to_other_keys():
    words = hydra_words(["output_dir=runs/${model.name} 1", "data.root=here=1", "data=wsol"])
    config = compose_checked([*words, *hydra_words(["data.metadata=${data.root}/m"])])
    assert (config.output_dir, config.data.metadata) == ("runs/fcam 1", "here=1/m")


def test_a_sweep_over_paths_stays_one(tmp_path):
    words = ["-m", "classifier=a,b", "output_dir=x=1"]
    assert hydra_words(words) == ["-m", "classifier=a,b", "output_dir='x=1'"]
    check_command_line(hydra_words(words))
    path = tmp_path / "a,b"
    path.touch()
    assert hydra_words(["-m", f"classifier={path}"])[1] == f"classifier='{path}'"


def test_arguments_of_the_trainer_need_no_plus():
    words = ["trainer.max_time=00:01:00:00", "trainer.limit_val_batches=2", "trainer.devices=1"]
    words += ["+trainer.fast_dev_run=true", "++trainer.benchmark=true"]
    config = compose_checked(hydra_words(words))
    assert config.trainer.limit_val_batches == 2
    assert config.trainer.max_time == "00:01:00:00"
    assert config.trainer.fast_dev_run is config.trainer.benchmark is True


def test_switches_and_nothing_stay_what_they_are():
    words = hydra_words(["backbone.pretrained=true", "classifier=null", "resume=null"])
    config = compose_checked(words)
    assert config.backbone.pretrained is True
    assert config.classifier is config.resume is None


def test_the_keys_that_words_name_are_known():
    words = ["data=cub", "data.mean=[0,0,0]", "++recipe.epochs=1", "~logger.csv", "a='b=c'"]
    assert named_keys(words) == {"data", "data.mean", "recipe.epochs", "logger.csv", "a"}
