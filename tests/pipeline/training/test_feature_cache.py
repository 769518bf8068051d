"""`feature_cache`: the same training without passes of a frozen trunk, and what is refused."""

import errno
import shutil
from collections import Counter

import pytest
import torch

from learned_saliency.models import MultiScaleBackbone
from learned_saliency.pipeline.cli import UserError
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.training import make_plan
from learned_saliency.pipeline.training.fit import train
from learned_saliency.pipeline.training.resume import resumed_config
from tests.support.commands import run_command

SHORT = [
    *("model=fcam", "recipe.classifier_epochs=0", "recipe.epochs=2", "data.augment=false"),
    *("pictures.images=0", "test=false"),
]


@pytest.fixture
def run(small_run):
    return lambda *words: train(compose_checked([*small_run, *words]))


@pytest.fixture
def passes(monkeypatch):
    """Count the images that go through a trunk, by whether it is frozen."""
    counted = Counter()
    forward = MultiScaleBackbone.forward

    def count(backbone, images):
        frozen = not any(weight.requires_grad for weight in backbone.parameters())
        counted["frozen" if frozen else "trained"] += len(images)
        return forward(backbone, images)

    monkeypatch.setattr(MultiScaleBackbone, "forward", count)
    return counted


def kept(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def test_a_frozen_trunk_sees_each_image_once_and_the_weights_are_the_same(
    run, passes, tmp_path, capsys
):
    plain = run(*SHORT, f"output_dir={tmp_path}/plain").folder
    assert passes["frozen"] == 2 + 2 * 48  # one image tries the parts, one the methods
    passes.clear()
    cache = f"feature_cache={tmp_path}/features"
    begun = run(*SHORT, cache, "recipe.epochs=1", f"output_dir={tmp_path}/begun").folder
    told = capsys.readouterr().err
    assert passes["frozen"] == 2 + 48  # 32 of train and 16 of val
    assert f"fcam: features of the frozen trunk are kept in {tmp_path}/features/" in told
    assert "fcam: features were found 0 times and computed 48 times" in told
    passes.clear()
    words = [f"resume={begun}", "recipe.epochs=2"]
    train(resumed_config(compose_checked(words), words))
    told = capsys.readouterr().err
    assert passes["frozen"] == 2
    assert "fcam: features were found 48 times and computed 0 times" in told
    weights, others = (kept(folder)["state_dict"] for folder in (plain, begun))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=0, atol=0, msg=name)
    assert "KeepFeatures" not in " ".join(kept(begun)["callbacks"])


def test_a_run_that_goes_on_elsewhere_writes_where_its_words_say_alone(run, tmp_path, capsys):
    cache = tmp_path / "features"
    begun = run(*SHORT, f"feature_cache={cache}", "recipe.epochs=1").folder
    shutil.rmtree(cache)
    words = [f"resume={begun}", "recipe.epochs=2"]
    assert resumed_config(compose_checked(words), words).feature_cache is None
    told = capsys.readouterr().err
    assert f"feature_cache={cache}: holds no features on this machine, and the run goes on" in told
    words.append(f"feature_cache={cache}")
    assert resumed_config(compose_checked(words), words).feature_cache == str(cache)


def test_only_the_stage_whose_trunk_is_frozen_keeps_features(run, passes, tmp_path, capsys):
    casm = ("model=casm", "model.thinning=F", "recipe.classifier_epochs=1", "recipe.epochs=2")
    run(*SHORT, *casm, f"feature_cache={tmp_path}/features")
    assert passes["frozen"] == 1 + 48 + 2 * 32  # the masked images of each epoch, too
    told = capsys.readouterr().err
    assert "classifier: no features are kept: its trunk is trained" in told
    assert "casm: features were found 48 times and computed 48 times" in told


@pytest.mark.parametrize("model", ["cam", "trilite"])
def test_trunks_that_were_frozen_by_a_word_are_kept_for_every_method(run, passes, tmp_path, model):
    words = ("recipe.classifier_epochs=2", "++recipe.epochs=2", "++recipe.pretraining_epochs=0")
    frozen = f"model={model}", "backbone.frozen=true", "data.augment=false", "pictures.images=0"
    run(*frozen, *words, "test=false", f"feature_cache={tmp_path}/features")
    assert passes["frozen"] == 48 + (
        3 if model == "trilite" else 1
    )  # an image tries each stage, one methods


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=fcam"], "set data.augment=false"),
        (["model=cam", "data.augment=false"], "model=cam can be kept: its trunk is trained"),
        (["model=fcam", "data.augment=false", "feature_cache=/dev/null/x"], "cannot be written"),
    ],
)
def test_what_cannot_be_kept_is_told_before_any_work(small_run, tmp_path, words, message):
    cache = f"feature_cache={tmp_path}/features"
    finished = run_command("train", *small_run, cache, *words)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.strip().splitlines()) <= 2  # the announcement and the sentence
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("model", ["has", "cutmix"])
def test_features_of_images_that_a_step_alters_are_refused(small_run, tmp_path, model):
    words = ["backbone.frozen=true", "data.augment=false", f"feature_cache={tmp_path}/features"]
    told = f"model={model} can be kept: it learns from images that are altered anew in every step; "
    with pytest.raises(UserError, match=f"{told}leave the key out"):
        make_plan(compose_checked([*small_run, f"model={model}", *words]))


def test_a_disk_without_room_ends_the_training_in_a_sentence(small_run, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10))
    finished = run_command("train", *small_run, *SHORT, f"feature_cache={tmp_path}/features")
    assert finished.returncode == 1
    assert "the disk is full (feature_cache needs 0.0 GB more)" in finished.stderr


def test_features_that_cannot_be_written_end_the_training_in_a_sentence(
    small_run, tmp_path, monkeypatch
):
    def refuse(path, levels):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("learned_saliency.models.feature_cache._write", refuse)
    finished = run_command("train", *small_run, *SHORT, f"feature_cache={tmp_path}/features")
    assert finished.returncode == 1
    assert "the disk is full (No space left on device)" in finished.stderr
