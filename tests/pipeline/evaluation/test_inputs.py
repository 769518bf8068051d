"""Images of another data set as a network was trained to see them, and its own classes."""

import csv
import json

import pytest
import torch

from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME
from learned_saliency.pipeline.evaluation.inputs import trained_options
from learned_saliency.pipeline.runs import Subject, read_checkpoint, with_precision
from learned_saliency.trainers import SaliencyModule
from tests.pipeline.evaluation.conftest import DROP, NONE
from tests.support.commands import run_command
from tests.support.photos import save

QUICK = ["data.num_workers=0", "pictures.images=2"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Words for a folder of photographs; nothing is known about them."""
    monkeypatch.setenv("LEARNED_SALIENCY_CACHE", str(tmp_path / "cache"))
    for number in range(7):
        save(tmp_path / "photos" / f"{number}.png", number)
    whole = ["data.reader.val_fraction=0", "data.reader.test_fraction=1"]
    return ["data=photos", f"data.root={tmp_path}/photos", *whole, *QUICK]


def options(subject, *words, given=()):
    config = compose_checked(evaluation_words(words), CONFIG_NAME, complete=False)
    return trained_options(True, config, subject, given)


def test_a_checkpoint_decides_how_images_of_other_data_are_seen(run, capfd):
    checkpoint = read_checkpoint(run.folder)
    subject, words = Subject(checkpoint, True), ["data=wsol", "data.root=x", "data.metadata=y"]
    found = options(subject, *words, "data.mean=[0,0,0]", "data.resize_size=16")
    assert list(found.pop("mean")) == list(checkpoint.config.data.mean)
    assert found == {"crop_size": 32, "resize_size": 32, "known_classes": checkpoint.class_names}
    assert "data.crop_size=32, as" in capfd.readouterr().err
    given = {"data.crop_size", "data.mean", "data.known_classes"}
    assert options(subject, *words, "data.mean=[0,0,0]", given=given) == {}
    wide = options(subject, *words, "data.crop_size=[192,320]", given=given)
    assert list(wide.pop("resize_size")) == [256, 320]  # which evaluation has no images of
    assert wide.keys() <= {"mean"}
    assert capfd.readouterr().err == ""
    own = compose_checked(evaluation_words(words), CONFIG_NAME, complete=False)
    assert trained_options(False, own, subject) == {}


def test_a_network_of_a_library_has_its_colors_normalized_as_its_weights_want_them(capfd):
    words = ["layer=blocks", "data=wsol", "data.root=x", "data.metadata=y"]
    lite = ["classifier=timm:tf_efficientnet_lite0", *words]
    found = options(Subject(None, False), *lite)
    assert found["mean"] == found["std"] == [0.5, 0.5, 0.5]
    assert "data.std=[0.5, 0.5, 0.5], as timm:tf_efficientnet_lite0" in capfd.readouterr().err
    assert options(Subject(None, False), *lite, given={"data.mean", "data.std"}).keys() == {
        "known_classes"
    }


def test_a_network_of_a_library_has_the_classes_of_the_library():
    words = ["layer=features", "data=wsol", "data.root=x", "data.metadata=y"]
    foreign = Subject(None, False)
    found = options(foreign, "classifier=torchvision:squeezenet1_0", *words)
    assert found["known_classes"][:2] == ["tench", "goldfish"]
    assert list(found) == ["known_classes"]
    assert len(options(foreign, "classifier=timm:resnet10t", *words)["known_classes"]) == 1000
    for other in (["num_classes=16"], ["data.known_classes=[a,b]"]):
        assert options(foreign, "classifier=torchvision:squeezenet1_0", *words, *other) == {}
    assert options(foreign, "classifier=mine:network", *words) == {}
    with pytest.raises(UserError, match=r"has no such network.*squeezenet1_0"):
        options(foreign, "classifier=torchvision:squeezenet1_00", *words)


def test_photographs_without_labels_are_evaluated_in_one_command(run, photos, tmp_path):
    out = tmp_path / "evaluation"
    words = [f"checkpoint={run.folder}", "methods=[native,gradcam]", DROP, f"output_dir={out}"]
    done = run_command("evaluate", *words, *photos)
    assert done.returncode == 0, done.stderr
    assert "data.crop_size=32, as" in done.stderr
    results = json.loads((out / "results.json").read_text())
    for method in ("native", "gradcam"):
        assert 0 <= results["test"][method]["average_drop"] <= 1
        assert not {"accuracy", "max_box_acc"} & results["test"][method].keys()
    assert results["explained"] == "predicted"
    with (out / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert all(row["label"] == "-1" and row["target"] == row["predicted"] for row in rows)
    assert (out / "pictures" / "maps.png").is_file()
    larger = run_command("evaluate", *words, *photos, "data.crop_size=48", f"output_dir={out}2")
    assert larger.returncode == 0, larger.stderr
    assert "as " + str(run.folder) not in larger.stderr


def test_unlabeled_images_explain_the_predicted_classes(foreign, evaluated, photos):
    words = [word for word in foreign if not word.startswith("data")] + photos
    words += ["data.crop_size=32", "methods=[gradcam]", DROP]
    first = evaluated(*words)
    second = evaluated(*words, "evaluate.explained=predicted")
    assert first.results == second.results


def test_studies_of_true_classes_refuse_data_without_any(run, evaluated, photos):
    for study in ("removal", "bank"):
        words = [f"studies=[{study}]", f"studies.bank.classifiers=[{run.folder}]"]
        words = words if study == "bank" else words[:1]
        with pytest.raises(UserError, match=rf"studies=\[{study}\]: compares with true classes"):
            evaluated(f"checkpoint={run.folder}", *words, *photos, NONE)


def test_precision_takes_the_place_of_the_trainers():
    def composed(word):
        config = compose_checked([word], CONFIG_NAME, complete=False)
        return with_precision(config).trainer.precision

    assert composed("precision=null") == composed("precision=32") == "32-true"
    assert composed("precision=bf16") == "bf16-mixed"
    assert composed("precision=fp16") == "16-mixed"
    with pytest.raises(UserError, match="precision=int8: expected one of 32, bf16, fp16 here"):
        composed("precision=int8")


def test_maps_of_a_reduced_precision_are_scored_in_float32(foreign, evaluated, monkeypatch):
    whole, kinds = SaliencyModule.test_step, set()

    def watching(module, batch, number):
        found = whole(module, batch, number)
        kinds.update({found.logits.dtype, *(maps.dtype for maps in found.maps.values())})
        return found

    monkeypatch.setattr(SaliencyModule, "test_step", watching)
    words = [*foreign, "methods=[gradcam]", DROP, "pictures.images=0", "limit=6"]
    exact = evaluated(*words).results["gradcam"]
    rough = evaluated(*words, "precision=bf16").results["gradcam"]
    assert kinds == {torch.float32}
    assert rough["map_mean"] != exact["map_mean"]
    assert rough["map_mean"] == pytest.approx(exact["map_mean"], abs=0.05)
