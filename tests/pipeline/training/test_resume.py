"""Words on resume: each acts as on the run's own command line, or is refused."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.runs import create_folder, read_checkpoint, run_record
from learned_saliency.pipeline.training import resumed_config, train
from learned_saliency.pipeline.training.resume import is_finished
from tests.support.words import SMALL_RUN


@pytest.fixture
def resumed(fcam_run):
    """The configuration that words of a resumed run come to."""

    def resumed(*words, checkpoint=fcam_run / "checkpoints" / "last.ckpt"):
        words = [f"resume={checkpoint}", *words]
        return resumed_config(compose_checked(words), words)

    return resumed


def test_without_words_it_is_the_runs_own(resumed, fcam_run):
    own = OmegaConf.load(fcam_run / "config.yaml")
    found = OmegaConf.to_container(resumed(), resolve=True)
    assert found.pop("resume") == str(fcam_run / "checkpoints" / "last.ckpt")
    own = OmegaConf.to_container(own)
    own.pop("resume")
    assert found == own


def test_what_refers_to_a_changed_key_follows_it(resumed):
    config = resumed("recipe.epochs=4", "trainer.precision=bf16-mixed", "methods=[native]")
    assert config.model.epochs == 4
    assert config.trainer.precision == "bf16-mixed"
    assert list(config.methods) == ["native"]


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("recipe.lr=7", "model.module.optimizer.lr"),
        ("recipe.lr_step=7", "model.module.scheduler.step_size"),
        ("recipe.crf_weight=1", "model.loss.crf.weight"),
        ("recipe.classifier_lr=1", "model.first_stage.module.optimizer.lr"),
        ("recipe.classifier_epochs=3", "model.first_stage.epochs"),
        ("backbone.name=resnet18", "backbone.name"),
        ("data.crop_size=16", "data.crop_size"),
        ("seed=3", "data.seed"),
        ("output_dir=elsewhere", "output_dir"),
        ("attribution.cam.interpolation=bilinear", "model.module.seed_method.interpolation"),
    ],
)
def test_a_word_that_could_not_act_is_refused_with_the_key_that_it_changes(resumed, word, key):
    with pytest.raises(UserError) as caught:
        resumed(word)
    assert str(caught.value).startswith(f"{word}: would change {key},")


def test_words_of_the_first_stage_act_while_it_is_trained(resumed, fcam_run):
    checkpoint = fcam_run / "checkpoints" / "classifier" / "last.ckpt"
    config = resumed("recipe.classifier_epochs=3", "recipe.epochs=2", checkpoint=checkpoint)
    assert config.model.first_stage.epochs == 3
    assert config.model.epochs == 2


def test_another_data_set_is_refused(resumed):
    with pytest.raises(UserError, match="keeps its own data"):
        resumed("data=wsol", "data.root=somewhere", "data.metadata=somewhere")


def test_the_embedded_data_set_lies_where_this_machine_says(
    resumed, fcam_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    run = shutil.copytree(fcam_run, tmp_path / "run")
    (run / "run.json").unlink()  # as of a run that only its checkpoint is left of
    checkpoint = run / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    for part in ("config", "composed"):
        gone = str(tmp_path / "gone")
        content["run"][part]["data"].update(root=gone, metadata=f"{gone}/metadata")
    torch.save(content, checkpoint)
    config = resumed(checkpoint=checkpoint)
    assert config.data.root.startswith(f"{tmp_path}/cache/creatures-48px-")
    assert config.data.metadata == f"{config.data.root}/metadata-32-16-17"
    mine = resumed(f"data.root={tmp_path}/mine", checkpoint=checkpoint)
    assert mine.data.root == f"{tmp_path}/mine"


def test_an_experiment_is_refused(resumed):
    with pytest.raises(UserError, match="keeps its own experiment; drop the word"):
        resumed("experiment=calm_creatures")


@pytest.mark.parametrize("asked", ["${oc.env:SECRET}", "${${name}:SECRET}"])
def test_a_record_that_asks_the_machine_is_not_resumed(
    asked, resumed, fcam_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET", "told")
    content = torch.load(fcam_run / "checkpoints" / "last.ckpt", weights_only=True)
    content["run"]["composed"] |= {"name": "oc.env", "output_dir": asked}
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="is not resumed") as caught:
        resumed(checkpoint=tmp_path / "last.ckpt")
    assert "told" not in str(caught.value)


def test_more_epochs_are_trained(small_run, tmp_path):
    short = ["model=cam", "+trainer.limit_train_batches=1", "test=false"]
    first = train(compose_checked([*small_run, *short]))
    last = first.folder / "checkpoints" / "last.ckpt"
    words = [f"resume={last}", "recipe.classifier_epochs=3"]
    train(resumed_config(compose_checked(words), words))
    assert torch.load(last, weights_only=True)["epoch"] == 2


@pytest.fixture
def begun(creatures, tmp_path):
    """Folder of a run that has begun and has no checkpoint, and its record."""
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    config = compose_checked([*SMALL_RUN, *place, f"output_dir={tmp_path}/run"])
    folder = create_folder(config, run_record(config))
    return folder, json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["config"].pop("model"),
        lambda r: r["config"].update(model=3),
        lambda r: r["config"].pop("data"),
        lambda r: r["config"].update(seed=5),
        lambda r: r["composed"].update(seed="${nope}"),
        lambda r: r["composed"].update(seed="${"),
    ],
)
def test_a_damaged_record_of_a_run_is_named(begun, resumed, change):
    folder, record = begun
    assert resumed(checkpoint=folder).model.name == record["config"]["model"]["name"]
    change(record)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="damaged") as told:
        resumed(checkpoint=folder)
    assert str(folder) in str(told.value)


def test_a_checkpoint_that_does_not_tell_its_epochs_is_named(fcam_run):
    checkpoint = read_checkpoint(fcam_run / "checkpoints" / "last.ckpt")
    assert is_finished(checkpoint.config, checkpoint, fcam_run)
    for loops in (None, {}, {"fit_loop": []}):
        checkpoint.content["loops"] = loops
        with pytest.raises(UserError, match=r"last\.ckpt: does not tell how far"):
            is_finished(checkpoint.config, checkpoint, fcam_run)
