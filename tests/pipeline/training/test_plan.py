"""Checks before anything is trained."""

import shutil

import pytest
import torch

from learned_saliency.datamodules import DataError
from learned_saliency.models import MultiScaleBackbone
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.runs import CLASSIFIER, FIRST_STAGE
from learned_saliency.pipeline.training import make_plan, train
from tests.support.photos import save
from tests.support.untrained import untrained_run


@pytest.fixture
def plan(small_run):
    def plan(*words):
        return make_plan(compose_checked([*small_run, *words]))

    return plan


@pytest.fixture
def bare(creatures, tmp_path):
    """Words for a data set of which parts may be removed, and its metadata."""
    metadata = tmp_path / "metadata"
    shutil.copytree(creatures / "metadata", metadata)
    (metadata / "creatures.json").unlink(missing_ok=True)
    return [f"data.metadata={metadata}", "data.reader=null"], metadata


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.module._target_=mine.CAMModule"], r"model\.module\._target_=mine\.CAMModule"),
        (["output_dir=/dev/null/run"], "output_dir=/dev/null/run: cannot be written"),
        (["recipe.epochs=0"], r"recipe\.epochs=0: expected"),
        (["recipe.epochs=1.5"], r"recipe\.epochs=1\.5: expected"),
        (["recipe.classifier_epochs=-1"], r"recipe\.classifier_epochs=-1: expected"),
        (["model.monitor=max_box_ac"], r"model\.monitor=max_box_ac.*the nearest: max_box_acc"),
        (["model.monitor=map_mean"], r"map_mean: is no metric of `val` that can choose"),
        (["recipe.lr=fast"], r"recipe\.lr=fast: expected a number"),
        (["recipe.lr_step=0"], r"recipe\.lr_step=0: expected"),
        (["recipe.classifier_lr=-1"], r"recipe\.classifier_lr=-1: expected"),
        (["recipe.erosion=4"], r"recipe\.erosion=4: .*odd"),
        (
            ["recipe.decoder_widths=[64]"],
            r"model\.network \(recipe\.decoder_widths\): ",
        ),
        (["model=calm", "model.em_target=last"], "em_target"),
        (["model=calm", "data.task=multilabel"], r"model=calm has one distribution p\(y, z\|x\)"),
        (["model=supervised", "data.task=multilabel"], "model=supervised learns one foreground"),
        (["model=calm", "data.superset=wordnet"], "superset|WordNet"),
        (["model=calm", "data.superset=[a,b]"], "there are 2 groups for 16 classes"),
        (["methods=[camm]"], "nearest: cam"),
        (
            ["model.pictures=[camm]"],
            r"model\.pictures: no method .* the nearest: cam",
        ),
        (["data.crop_size=1"], r"data\.crop_size=1: the map of backbone=resnet10t has one cell"),
        (["backbone.name=nonsense"], r"model\.first_stage\.network\.backbone: timm has no network"),
        (["+model.network.nonsense=1"], r"model\.network .*unexpected keyword argument 'nonsense'"),
        (["evaluate.mask_color=pink"], "mean, black"),
        (["layer=layer4"], "layer=layer4: leave it out, there is no classifier=timm:NAME"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run_has_a_folder(plan, tmp_path, words, told):
    with pytest.raises(UserError, match=told):
        plan(*words)
    assert not (tmp_path / "run").exists()


def test_images_of_a_size_that_a_network_does_not_take_are_told(plan, tmp_path, monkeypatch):
    def forward(network, images):
        raise AssertionError("Input height (32) doesn't match model (224).")

    monkeypatch.setattr(MultiScaleBackbone, "forward", forward)
    with pytest.raises(UserError, match=r"data\.crop_size=.*does not take.*model \(224\); choose"):
        plan()
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_told(plan, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        plan("model=cam", "data.reader=null")


def test_devices_and_precision_are_checked(plan):
    with pytest.raises(UserError, match=r"trainer\.devices=9999: this machine has"):
        plan("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=9999")
    with pytest.raises(UserError, match=r"trainer\.precision=64-true: is for predict\.py alone"):
        plan("trainer.precision=64-true")


def test_a_part_of_the_batches_that_is_none_is_told(plan):
    with pytest.raises(UserError, match=r"limit_val_batches=0\.01: nothing is left of the"):
        plan("+trainer.limit_val_batches=0.01")


def test_a_fast_run_tries_one_batch_of_everything(small_run, tmp_path):
    words = ["model=cam", "recipe.classifier_epochs=7", "+trainer.fast_dev_run=true"]
    result = train(compose_checked([*small_run, *words]))
    assert result.results["native"]
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) <= 6  # names, and a few of the one epoch and the test


def test_class_names_of_a_file_go_into_the_configuration(plan, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"kind {label}\n" for label in range(16)))
    made = plan("model=calm", f"data.class_names={names}")
    assert list(made.config.data.class_names) == [f"kind {label}" for label in range(16)]
    assert made.record["composed"]["data"]["class_names"] == made.data.class_names
    assert made.config.model.module.class_ids[3] == "kind 3"


def test_groups_of_a_file_go_into_the_configuration(plan, tmp_path):
    path = tmp_path / "groups.txt"
    path.write_text("".join(f"{label},group {label % 3}\n" for label in range(16)))
    groups = [f"group {label % 3}" for label in range(16)]
    made = plan("model=calm", f"data.superset={path}")
    assert list(made.config.data.superset) == list(made.config.model.module.superset) == groups
    assert made.record["composed"]["data"]["superset"] == groups
    with pytest.raises(DataError, match="there is no such file of lines `class,group`"):
        plan("model=calm", f"data.superset={tmp_path}/missing.csv", f"output_dir={tmp_path}/none")
    alone = plan("model=calm", f"model.superset={path}", f"output_dir={tmp_path}/alone")
    assert alone.config.data.superset == "all"
    assert list(alone.config.model.superset) == groups


def test_a_plan_lists_the_stages_and_trains_nothing(plan, tmp_path):
    made = plan("model=fcam")
    assert made.stages == [CLASSIFIER, ""]
    assert made.folder == tmp_path / "run"
    assert {path.name for path in made.folder.iterdir()} == {"config.yaml", "run.json"}
    assert plan("model=cam", f"output_dir={tmp_path}/cam").stages == [""]


def test_a_missing_test_split_is_told_or_left_out(bare, small_run, plan, tmp_path):
    words, metadata = bare
    shutil.rmtree(metadata / "test")
    with pytest.raises(UserError, match=r"no folder `test`.*test=false"):
        plan("model=cam", *words)
    result = train(compose_checked([*small_run, "model=cam", *words, "test=false"]))
    assert result.results == {}
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
    assert not (tmp_path / "run" / "results.json").exists()


def test_the_refusal_of_monitors_names_every_key_that_has_to_change(bare, plan):
    words, metadata = bare
    for name in ("localization.txt", "masks.txt", "image_sizes.txt"):
        (metadata / "val" / name).unlink()
    words += ["model=fcam", "recipe.monitor=max_box_acc", "recipe.classifier_monitor=pxap"]
    with pytest.raises(UserError) as caught:
        plan(*words)
    message = str(caught.value)
    assert "needs boxes and masks" in message
    advised = message.partition("choose by what it has: ")[2].rstrip(".").split()
    assert advised == ["model.first_stage.monitor=auto", "model.monitor=auto"]
    assert plan(*words, *advised).data.supervision("val")["boxes"] == 0


def test_methods_that_learn_from_labels_refuse_unlabeled_images(bare, creatures, plan, tmp_path):
    words, metadata = bare
    labels = metadata / "train" / "class_labels.txt"
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([f"{lines[0].rpartition(',')[0]},-1", *lines[1:]]) + "\n")
    told = rf"class_labels.txt: 1 of {len(lines)} training images have no known label"
    for model in ("cam", "calm"):
        with pytest.raises(UserError, match=f"{told}.*model={model} learns.*classifier=") as caught:
            plan(f"model={model}", *words)
        assert str(labels) in str(caught.value)
    with pytest.raises(UserError, match=f"{told}.*the classifier of model=fcam learns.*classifier"):
        plan("model=fcam", *words)
    with pytest.raises(UserError, match=f"{told}.*model=casm learns from labels"):
        plan("model=casm", *words)
    cam = untrained_run(creatures, tmp_path / "cam", "model=cam")
    assert plan("model=fcam", f"classifier={cam}", *words).data.num_labeled("train") < len(lines)
    plan("model=casm", "model.thinning=F", f"classifier={cam}", *words)


def test_fcam_trains_without_boxes_and_labels(bare, creatures, small_run, tmp_path, capfd):
    words, metadata = bare
    for split in ("train", "val", "test"):
        labels = metadata / split / "class_labels.txt"
        ids = (line.rpartition(",")[0] for line in labels.read_text().splitlines())
        labels.write_text("".join(f"{image_id},-1\n" for image_id in ids))
        for name in ("localization.txt", "masks.txt", "image_sizes.txt"):
            (metadata / split / name).unlink(missing_ok=True)
    cam = untrained_run(creatures, tmp_path / "cam", "model=cam")
    words += ["model=fcam", f"classifier={cam}", "pictures.images=2"]
    words += ["recipe.monitor=auto", "recipe.classifier_monitor=auto"]
    run = train(compose_checked([*small_run, *words, "+trainer.limit_train_batches=1"]))
    told = capfd.readouterr().err
    assert "(monitor=auto)" in told
    assert "no label: predicted classes stand in for the true ones" in told
    assert "accuracy" not in run.results["native"]
    assert 0 < run.results["native"]["map_mean"] < 1


def test_photographs_have_the_classes_of_the_given_classifier(
    creatures, small_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    for number in range(10):
        save(tmp_path / "photos" / f"{number}.png", number)
    cam = untrained_run(creatures, tmp_path / "cam", "model=cam")
    words = [word for word in small_run if not word.startswith(("data=", "data.reader", "data.ro"))]
    words = [word for word in words if not word.startswith("data.metadata")]
    words += ["data=photos", f"data.root={tmp_path}/photos", f"classifier={cam}", "test=false"]
    made = make_plan(compose_checked([*words, "model=fcam", "recipe.monitor=auto"]))
    assert made.data.class_names == list(made.config.data.known_classes)
    assert made.data.num_classes == 16
    assert made.data.num_labeled("train") == 0


def test_any_classifier_of_several_scales_serves_fcam(creatures, plan, tmp_path):
    calm = untrained_run(creatures, tmp_path / "calm", "model=calm")
    made = plan("model=fcam", f"classifier={calm}")
    assert made.stages == [""]
    assert type(made.classifier).__name__ == "CALM"
    assert made.config.model[FIRST_STAGE].name == "calm"  # so that checkpoints can be read back


def test_a_refused_classifier_names_the_one_that_lies_beside_it(creatures, plan, tmp_path):
    fcam = untrained_run(creatures, tmp_path / "fcam", "model=fcam")
    with pytest.raises(UserError, match=r"'fcam' model.*can be built on\.$"):
        plan("model=fcam", f"classifier={fcam}")
    own = fcam / "checkpoints" / CLASSIFIER / "best.ckpt"
    own.parent.mkdir()
    shutil.copy(fcam / "checkpoints" / "best.ckpt", own)
    with pytest.raises(UserError, match=f"classifier={own}"):
        plan("model=fcam", f"classifier={fcam}/checkpoints/best.ckpt")


def test_a_fcam_on_a_calm_trains_and_is_read_back(creatures, small_run, tmp_path):
    calm = untrained_run(creatures, tmp_path / "calm", "model=calm")
    words = [*small_run, "model=fcam", f"classifier={calm}", "+trainer.limit_train_batches=1"]
    first = train(compose_checked(words))
    assert first.results["native"]["pxap"] > 0
    again = [*small_run, "model=fcam", f"classifier={first.folder}", f"output_dir={tmp_path}/x"]
    with pytest.raises(UserError, match="'fcam' model"):
        train(compose_checked(again))


def test_a_classifier_of_other_classes_is_refused(creatures, plan, tmp_path):
    folder = untrained_run(creatures, tmp_path / "cam", "model=cam")
    content = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    content["run"]["num_classes"] = 3
    content["run"]["class_names"] = content["run"]["class_names"][:3]
    content["state_dict"] = {
        name: value[:3] if ".fc." in name else value
        for name, value in content["state_dict"].items()
    }
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    with pytest.raises(UserError, match=r"3 classes, but the data set has 16.*known_classes=FILE"):
        plan("model=fcam", f"classifier={folder}")
    known = [f"data.known_classes=[{','.join(content['run']['class_names'])}]"]
    assert plan("model=fcam", f"classifier={folder}", *known).data.num_classes == 3
