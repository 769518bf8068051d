"""Classifiers of one logit and regressions: trained on, scored, predicted, exported."""

import json

import numpy as np
import pytest
import torch

from learned_saliency import load
from learned_saliency.pipeline.comparison.verify import verify
from learned_saliency.pipeline.runs.checkpoints import load_module, read_checkpoint
from tests.support.commands import run_command
from tests.support.valued import SIDE, write_valued_set
from tests.support.web_runtime import web_runtime

COUNTS = {"train": 24, "val": 8, "test": 6}


def words(root, task, *others):
    return [
        "data=wsol",
        f"data.task={task}",
        f"data.root={root}/images",
        f"data.metadata={root}/metadata",
        *(f"data.{key}_size={SIDE}" for key in ("resize", "crop")),
        *("data.batch_size=8", "data.num_workers=0", "data.augment=false"),
        *("recipe.classifier_epochs=2", "pictures.images=2"),
        *others,
    ]


def run(name, *given):
    done = run_command(name, *given)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def valued(tmp_path_factory):
    """A regression of area and brightness, and where its images are."""
    folder = tmp_path_factory.mktemp("valued")
    write_valued_set(folder, COUNTS)
    out = f"output_dir={folder / 'run'}"
    run("train", *words(folder, "regression", "model=cam", "model.monitor=r2", out))
    return folder / "run", folder


def true_values(root, split):
    lines = (root / "metadata" / split / "values.txt").read_text().split()
    return np.array([[float(v) for v in line.split(",")[1:]] for line in lines])


def test_a_regression_is_scored_by_its_values(valued):
    folder, root = valued
    found = json.loads((folder / "results.json").read_text())["test"]["native"]
    assert not {"accuracy", "top5_accuracy"} & set(found)
    told, true = predicted_values(folder, root), true_values(root, "test")
    r2 = 1 - ((told - true) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)
    assert found["r2"] == pytest.approx(r2.mean(), rel=1e-3)
    assert found["mean_absolute_error"] == pytest.approx(np.abs(told - true).mean(), rel=1e-3)


def predicted_values(folder, root):
    images = [root / "images" / "test" / f"{k}.png" for k in range(COUNTS["test"])]
    found = load(folder)(images)
    for image in found:  # a map for each value
        assert [score.name for score in image.classes] == ["area", "brightness"]
    return np.array([[score.score for score in image.classes] for image in found])


def test_the_units_are_those_of_the_training_images(valued):
    folder, root = valued
    answers = load_module(read_checkpoint(folder, "best.ckpt")).network.answers
    values = true_values(root, "train")
    np.testing.assert_allclose(answers.shifts, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(answers.factors, values.std(0), rtol=1e-5)


def test_a_regression_is_evaluated_without_probabilities(valued, tmp_path):
    folder, _ = valued
    asked = [f"checkpoint={folder}", "methods=[native,gradcam]", f"output_dir={tmp_path / 'o'}"]
    done = run_command("evaluate", *asked)
    assert done.returncode != 0
    assert "watches the probability of a class" in done.stderr
    bundle = f"bundle={tmp_path / 'o.zip'}"
    run("evaluate", *asked, "evaluate.faithfulness=[]", "pictures.images=0", bundle)
    again = json.loads((tmp_path / "o" / "results.json").read_text())["test"]["native"]
    wanted = json.loads((folder / "results.json").read_text())["test"]["native"]
    assert again == pytest.approx(wanted, rel=1e-3)  # maps of a bundle are rounded
    found = verify(tmp_path / "o.zip")
    assert found.agrees
    assert "r2" not in found.of_network


def test_a_regression_lies_below_f_cam_and_in_a_graph(valued, tmp_path):
    folder, root = valued
    out = tmp_path / "fcam"
    options = [f"classifier={folder}", "recipe.epochs=1", "recipe.epoch_steps=null"]
    options.append(f"output_dir={out}")
    run("train", *words(root, "regression", "model=fcam", *options))
    run("export", f"checkpoint={folder}", "format=pt2", f"out={tmp_path}")
    program = torch.export.load(tmp_path / "cam.pt2").module()
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = program(images, torch.tensor([0, 1]))
    torch.testing.assert_close(found["probabilities"], found["logits"])
    assert json.loads((tmp_path / "cam.pt2.json").read_text())["activation"] == "identity"
    ort = web_runtime(tmp_path)
    refused = run_command("export", f"checkpoint={folder}", "format=html", f"ort={ort}")
    assert "the model tells values; choose format=onnx" in refused.stderr


def test_two_classes_of_one_logit(tmp_path):
    write_valued_set(tmp_path, COUNTS)
    for split in COUNTS:
        bright = true_values(tmp_path, split)[:, 1] > 0.7
        lines = (f"{split}/{k}.png,{int(b)}" for k, b in enumerate(bright))
        (tmp_path / "metadata" / split / "class_labels.txt").write_text("\n".join(lines))
    run("train", *words(tmp_path, "binary", "model=cam", f"output_dir={tmp_path / 'run'}"))
    network = load_module(read_checkpoint(tmp_path / "run", "best.ckpt")).network
    assert network.fc.out_features == 1
    logits = network.eval()(torch.rand(2, 3, SIDE, SIDE))
    torch.testing.assert_close(logits[:, 0], -logits[:, 1])


@pytest.mark.parametrize(("task", "model"), [("regression", "casm"), ("binary", "calm")])
def test_other_models_say_that_they_do_not_take_the_task(task, model, tmp_path):
    write_valued_set(tmp_path, COUNTS)
    done = run_command("train", *words(tmp_path, task, f"model={model}"))
    assert done.returncode != 0
    assert f"data.task={task}: model=" in done.stderr


def test_values_and_classes_are_not_scored_by_each_other(valued, tmp_path):
    folder, root = valued
    photos = ["data=photos", f"data.root={root / 'images'}", "evaluate.faithfulness=[]"]
    done = run_command("evaluate", f"checkpoint={folder}", *photos, f"output_dir={tmp_path / 'o'}")
    assert done.returncode != 0
    assert "the network tells values of an image, and data=photos has none" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()
