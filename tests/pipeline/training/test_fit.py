"""Whole runs, small: every model trains, what a run leaves, resuming, protocol, bad input."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from learned_saliency.pipeline.cli.choices import config_groups
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.runs.checkpoints import load_network, read_checkpoint
from learned_saliency.pipeline.training.fit import train
from learned_saliency.pipeline.training.stage import _tell_choice
from learned_saliency.trainers import TEST_FIGURES, DivergedError
from tests.support.words import SMALL_RUN, of_model

THREE_EPOCHS = ["model=fcam", "recipe.epochs=3", "recipe.classifier_epochs=3", "recipe.lr_step=1"]


@pytest.fixture
def run(small_run):
    return lambda *words: train(compose_checked([*small_run, *words]))


@pytest.fixture(scope="module")
def kept_run(creatures, tmp_path_factory):
    """Train once what several tests only read."""
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]

    def call(*words):
        folder = tmp_path_factory.mktemp("kept") / "run"
        return train(compose_checked([*SMALL_RUN, *place, f"output_dir={folder}", *words]))

    return call


@pytest.fixture(scope="module")
def cam(kept_run):
    return kept_run("model=cam")


@pytest.fixture(scope="module")
def whole(kept_run):
    """A run of three epochs per stage that nothing interrupted."""
    return kept_run(*THREE_EPOCHS)


@pytest.mark.parametrize("model", config_groups()["model"])
def test_every_model_trains_a_step(small_run, model):
    words = [*of_model(small_run, model), "+trainer.limit_train_batches=1", "pictures.images=0"]
    result = train(compose_checked(words))
    shares = {k: v for k, v in result.results["native"].items() if TEST_FIGURES[k].unit is None}
    assert all(0 <= value <= 1 for value in shares.values())


def test_a_run_leaves_what_it_promises(run):
    result = run("model=fcam", "recipe.epochs=2")
    folder = result.folder
    saved = json.loads((folder / "results.json").read_text())
    assert set(saved["test"]) == {"native", "cam", "full_image", "centered_box"}
    assert saved["test"]["native"] == pytest.approx(result.results["native"])
    kept = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["selection"] == {
        "monitor": "pxap",
        "asked": "pxap",
        "value": kept["callbacks"]["best"]["score"],
        "threshold": float(kept["state_dict"]["box_threshold"]),
        "threshold_by": "boxes",
        "split": "val",
        "images": 16,
        "boxes": 16,
        "masks": 16,
    }
    assert saved["tested_on"]["images"] == 17
    assert "regret" not in saved
    for name in ("best.ckpt", "last.ckpt", "classifier/best.ckpt", "classifier/last.ckpt"):
        assert (folder / "checkpoints" / name).is_file(), name
    assert len(list((folder / "pictures").glob("epoch_*.png"))) == 2
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("classifier/train/loss_step", "train/loss_crf_epoch", "val/native/max_box_acc"):
        assert any(row[name] for row in rows), name
    assert not list(folder.rglob("*.tmp"))


def test_the_saved_configuration_repeats_the_run(cam, tmp_path):
    config = OmegaConf.load(cam.folder / "config.yaml")
    config.output_dir = str(tmp_path / "again")
    assert train(config).results == cam.results


def test_a_classifier_from_a_checkpoint_skips_the_first_stage(cam, run, tmp_path):
    checkpoint = cam.folder / "checkpoints" / "best.ckpt"
    second = run("model=fcam", f"classifier={checkpoint}", f"output_dir={tmp_path}/fcam")
    assert not (second.folder / "checkpoints" / "classifier").exists()
    trained = load_network(read_checkpoint(checkpoint)).state_dict()
    reused = load_network(read_checkpoint(second.folder / "checkpoints/best.ckpt")).classifier
    torch.testing.assert_close(dict(reused.state_dict()), dict(trained), rtol=0, atol=0)
    assert second.results["cam"] == pytest.approx(cam.results["native"])


def test_a_trained_classifier_beside_one_to_train_is_refused(cam, small_run):
    words = ["model=fcam", "model@model.first_stage=acol", f"classifier={cam.folder}"]
    with pytest.raises(UserError, match=r"^first_stage=.*is trained already"):
        train(compose_checked([*small_run, *words]), ["classifier", "model@model.first_stage"])


@pytest.mark.parametrize("stage", ["classifier", ""])
def test_a_run_killed_within_an_epoch_and_resumed_ends_as_if_it_had_not_been(
    run, whole, tmp_path, monkeypatch, stage
):
    kill_in_epoch(monkeypatch, stage, epoch=2)
    with pytest.raises(Killed):
        run(*THREE_EPOCHS, f"output_dir={tmp_path}/killed")
    monkeypatch.undo()
    last = tmp_path / "killed" / "checkpoints" / stage / "last.ckpt"
    resumed = run(*THREE_EPOCHS, f"resume={last}")
    assert resumed.folder == tmp_path / "killed"
    for name in ("classifier/last.ckpt", "last.ckpt"):
        ours, theirs = (
            read_checkpoint(f / "checkpoints" / name).content
            for f in (resumed.folder, whole.folder)
        )
        for part in ("state_dict", "optimizer_states", "lr_schedulers"):
            torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)
    assert resumed.results == whole.results
    ours, theirs = (_curves(f.folder / "metrics.csv") for f in (resumed, whole))
    assert ours == theirs


class Killed(BaseException):
    """Not an Exception, as a kill is not."""


def kill_in_epoch(monkeypatch, stage: str, epoch: int) -> None:
    from learned_saliency.trainers import CAMModule, FCAMModule

    victim = CAMModule if stage else FCAMModule
    step = victim.training_step

    def dying(self, batch, batch_idx):
        if self.current_epoch == epoch and batch_idx == 2:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(victim, "training_step", dying)


def _curves(path: Path) -> list[dict[str, str]]:
    """Rows without what depends on the clock."""
    with path.open() as file:
        return [
            {k: v for k, v in row.items() if v and "images_per_second" not in k}
            for row in csv.DictReader(file)
        ]


def test_a_resumed_run_cannot_become_another_model(cam, small_run):
    from learned_saliency.pipeline.training.resume import resumed_config

    words = [*small_run, "model=fcam", f"resume={cam.folder}/checkpoints/last.ckpt"]
    with pytest.raises(UserError, match="keeps its own model"):
        resumed_config(compose_checked(words), words)


def test_checkpoints_that_do_not_fit_are_refused_before_training(cam, run, tmp_path):
    good = cam.folder / "checkpoints" / "best.ckpt"
    truncated = tmp_path / "truncated.ckpt"
    truncated.write_bytes(good.read_bytes()[:1000])
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"weights": torch.zeros(3)}, foreign)
    for path, told in [
        (truncated, "truncated"),
        (foreign, "no checkpoint of this project"),
        (tmp_path / "none.ckpt", "no such checkpoint"),
    ]:
        with pytest.raises(UserError, match=told):
            run("model=fcam", f"classifier={path}")
    with pytest.raises(UserError, match=r"than the configured resnet.*, with backbone\.channels="):
        run("model=fcam", f"classifier={good}", "backbone.channels=[8,8,8,8]")
    fcam = run("model=fcam", f"classifier={good}", f"output_dir={tmp_path}/fcam")
    with pytest.raises(UserError, match="'fcam' model"):
        run("model=fcam", f"classifier={fcam.folder}/checkpoints/best.ckpt")


def test_a_checkpoint_with_code_or_a_foreign_target_does_not_run_it(cam, tmp_path):
    good = cam.folder / "checkpoints" / "best.ckpt"
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    content = torch.load(good, weights_only=True)
    torch.save(content | {"payload": Payload()}, tmp_path / "code.ckpt")
    with pytest.raises(UserError, match="more than weights"):
        read_checkpoint(tmp_path / "code.ckpt")
    content["run"]["config"]["model"]["network"]["_target_"] = "os.system"
    torch.save(content, tmp_path / "target.ckpt")
    with pytest.raises(UserError, match=r"'os\.system'"):
        read_checkpoint(tmp_path / "target.ckpt")
    assert not marker.exists()


@pytest.mark.parametrize("every", [1, 100])  # batches: within an epoch, and at its end
@pytest.mark.parametrize("words", [["model=cam"], ["model=casm", "model.first_stage.epochs=0"]])
def test_a_diverged_training_says_so_and_saves_nothing(run, tmp_path, words, every):
    rates = ["recipe.classifier_lr=1e38", "++recipe.joint_classifier_lr=1e38"]
    told = r"weights are NaN or infinite in epoch 1 of 1, at learning rates of .*e\+38"
    with pytest.raises(DivergedError, match=told):
        run(*words, *rates, f"trainer.log_every_n_steps={every}")
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_last_layer_that_does_not_fit_names_its_part(run):
    with pytest.raises(UserError, match=r"^model\.network: timm has no network 'resnet5'"):
        run("model=cam", "model.network.pretrained_head=resnet5")
    with pytest.raises(UserError, match=r"^model\.first_stage\.network: ACoL's branches are new"):
        run(
            "model=fcam",
            "model@model.first_stage=acol",
            "model.first_stage.network.pretrained_head=resnet50",
        )


def test_gradients_that_a_model_clips_by_itself_are_refused_to_the_trainer(run, tmp_path):
    words = ["+trainer.limit_train_batches=1", "trainer.gradient_clip_val=1.0"]
    with pytest.raises(UserError, match=r"gradient_clip_val=1\.0.*model\.module\.gradient_clip"):
        run("model=casm", *words)
    assert not list(tmp_path.rglob("config.yaml"))
    assert run("model=cam", *words).results


def test_selection_needs_supervision_on_val(run, creatures, tmp_path):
    bare = tmp_path / "metadata"
    shutil.copytree(creatures / "metadata", bare)
    (bare / "val" / "masks.txt").unlink()
    (bare / "creatures.json").unlink(missing_ok=True)
    words = [f"data.metadata={bare}", "data.reader=null", "model=cam"]
    with pytest.raises(UserError, match="needs masks"):
        run(*words, "recipe.monitor=pxap")
    result = run(*words, "recipe.monitor=accuracy")
    assert json.loads((result.folder / "results.json").read_text())["selection"]["masks"] == 0


def test_the_console_says_which_epoch_is_kept_and_why(capsys):
    facts = {"epoch": 1, "metrics": {"val": {"pxap": 0.5}}}
    _tell_choice("fcam", facts, epochs=3)
    told = capsys.readouterr().err
    assert told == "fcam: epoch 2 of 3 is kept, chosen by pxap of its own map on val: 50.0 %\n"


def test_a_run_without_a_checkpoint_of_its_model_names_that_of_its_first_stage(tmp_path):
    first = tmp_path / "checkpoints" / "classifier" / "best.ckpt"
    with pytest.raises(UserError, match=r"best\.ckpt: there is no such checkpoint\.$"):
        read_checkpoint(tmp_path, "best.ckpt")
    first.parent.mkdir(parents=True)
    first.touch()
    with pytest.raises(UserError, match=f"of its first stage there is {first}"):
        read_checkpoint(tmp_path, "best.ckpt")
