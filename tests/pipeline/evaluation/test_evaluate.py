"""Evaluations, small: of a checkpoint, of foreign networks, of labels alone; what they leave."""

import csv
import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from learned_saliency.attribution import GradCAM, split
from learned_saliency.metrics import AverageDrop, MaxBoxAcc, best_ious, masked_probabilities
from learned_saliency.pipeline.cli.choices import config_groups
from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.commands import COMMANDS
from learned_saliency.pipeline.commands.evaluate import evaluation_words
from learned_saliency.pipeline.evaluation.evaluate import CONFIG_NAME
from learned_saliency.pipeline.reports import read_intervals, told_below_floors
from learned_saliency.pipeline.runs.build import build_data
from learned_saliency.pipeline.runs.checkpoints import load_network, read_checkpoint
from learned_saliency.pipeline.training.fit import train
from learned_saliency.trainers import TEST_FIGURES
from tests.support.paths import ROOT
from tests.support.words import FLOORS, SMALL_RUN, of_model

DROP = "evaluate.faithfulness=[average_drop]"
NONE = "evaluate.faithfulness=[]"
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_checkpoint_is_tested_as_its_training_did(run, evaluated, capfd):
    found = evaluated(f"checkpoint={run.folder}", "methods=[native,cam]", NONE)
    told = told_below_floors(found.results, TEST_FIGURES, read_intervals(found.folder))
    assert told.startswith("these maps tell no more than a box in the middle of each image")
    assert f"evaluate.py: warning: {told}\n" in capfd.readouterr().err
    assert found.results == run.results
    saved = json.loads((found.folder / "results.json").read_text())
    assert saved["test"]["native"] == pytest.approx(run.results["native"])
    assert saved["checkpoint"] == str(run.folder)
    assert saved["tested_on"] == {"split": "test", "images": 17, "boxes": 17, "masks": 17}
    names = {path.relative_to(found.folder).as_posix() for path in found.written}
    assert names == {
        "report.html",
        "table.md",
        "table.tex",
        "results.json",
        "results.csv",
        "images.csv",
        "classes.csv",
        "intervals.csv",
        "pictures/maps.png",
        "pictures/curves.png",
    }
    assert all(path.is_file() for path in found.written)
    assert not list(found.folder.rglob("*.tmp"))


@pytest.mark.parametrize("model", sorted({*config_groups()["model"]} - {"fcam"}))
def test_every_model_is_evaluated(creatures, evaluated, tmp_path, model):
    place = [f"data.root={creatures}", f"data.metadata={creatures}/metadata"]
    short = ["+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1", "pictures.images=0"]
    words = [*of_model(SMALL_RUN, model), *place, *short, f"output_dir={tmp_path}/run"]
    folder = train(compose_checked(words)).folder
    found = evaluated(f"checkpoint={folder}", "methods=[liftcam]", DROP, "pictures.images=0")
    assert {"native", "liftcam"} <= set(found.results)
    for method in ("native", "liftcam"):
        assert 0 <= found.results[method]["average_drop"] <= 1


def test_labels_of_other_data_are_those_of_the_training(run, evaluated, creatures, tmp_path, capfd):
    metadata = tmp_path / "metadata"
    shutil.copytree(creatures / "metadata", metadata)
    lines = (metadata / "class_names.txt").read_text().splitlines()
    (metadata / "class_names.txt").write_text("\n".join(["0,other", *lines[1:]]) + "\n")
    first = [line for line in (metadata / "test/class_labels.txt").open() if line.endswith(",0\n")]
    words = ["data=wsol", f"data.root={creatures}", f"data.metadata={metadata}", NONE]
    words += ["data.crop_size=32", "data.num_workers=0", "methods=[native]"]
    found = evaluated(f"checkpoint={run.folder}", *words)
    told = f"knows 15 of the 16 classes of the data set, {17 - len(first)} of 17 images; unknown to"
    assert f"{told} it: other, whose images count as unlabeled" in capfd.readouterr().err
    labels = [row["label"] for row in read_rows(found.folder / "images.csv")]
    assert labels.count("-1") == len(first) > 0


def test_rows_of_images_average_to_the_table(run, evaluated):
    figures = ["average_drop", "average_gain", "aopc", "road", "adcc", "max_sensitivity"]
    found = evaluated(
        f"checkpoint={run.folder}/checkpoints/best.ckpt",
        "methods=[gradcam,opticam]",
        "attribution.opticam.iterations=2",
        f"evaluate.faithfulness=[{','.join(figures)}]",
        "evaluate.explained=predicted",
    )
    rows = read_rows(found.folder / "images.csv")
    assert len(rows) == 17 * 3
    assert set(found.results) == {"native", "gradcam", "opticam"} | FLOORS
    for method in ("native", "gradcam", "opticam"):
        own = [row for row in rows if row["method"] == method]
        assert len({row["image_id"] for row in own}) == 17
        assert all(row["target"] == row["predicted"] for row in own)
        hits = np.mean([row["label"] == row["predicted"] for row in own])
        assert hits == pytest.approx(found.results[method]["accuracy"])
        maps = ["le", "f1", "om", "le_iou", "f1_union", "om_iou", "pointing_game", "sparseness"]
        maps += ["energy_pointing_game", "complexity", "relevance_rank_accuracy"]
        for figure in [*figures, *maps]:
            mean = np.mean([float(row[figure]) for row in own])
            assert mean == pytest.approx(found.results[method][figure], abs=1e-5, rel=1e-5), figure


def test_values_equal_direct_calls(run, evaluated, creatures):
    """Grad-CAM's figures and rows, from the network, the method and the metrics themselves."""
    threshold = 0.25
    words = [f"checkpoint={run.folder}", "methods=[gradcam]", f"box_threshold={threshold}", DROP]
    found = evaluated(*words, "split=val")
    classifier = load_network(read_checkpoint(run.folder)).classifier.eval()
    data = build_data(read_checkpoint(run.folder).config, "validate")
    drops, boxes, ious = AverageDrop(), MaxBoxAcc(), []
    for batch in data.dataloader("val"):
        images, labels = batch["image"], batch["label"]
        maps = GradCAM()(classifier, images, labels)
        p, o, _ = masked_probabilities(classifier, images, maps, labels)
        drops.update(p, o)
        boxes.update(maps, batch["boxes"])
        ious += best_ious(maps, batch["boxes"])[:, 0, round(threshold * 1000)].tolist()
    ours = found.results["gradcam"]
    assert ours["average_drop"] == pytest.approx(float(drops.compute()), abs=1e-5)
    assert ours["max_box_acc"] == float(boxes.compute())
    rows = [row for row in read_rows(found.folder / "images.csv") if row["method"] == "gradcam"]
    assert [float(row["iou"]) for row in rows] == pytest.approx(ious, abs=1e-4)
    assert json.loads((found.folder / "results.json").read_text())["val"]["gradcam"]


def test_a_foreign_network_is_split_and_tested(foreign, network, evaluated, tmp_path):
    found = evaluated(*foreign, "methods=[gradcam,liftcam]", DROP)
    assert set(found.results) == {"gradcam", "liftcam"} | FLOORS
    data = build_data(compose_checked([*foreign[4:], "seed=0"]), "test")
    drops, classifier = AverageDrop(), split(network, "layer2")
    for batch in data.dataloader("test"):
        maps = GradCAM()(classifier, batch["image"], batch["label"])
        drops.update(*masked_probabilities(network, batch["image"], maps, batch["label"])[:2])
    assert found.results["gradcam"]["average_drop"] == pytest.approx(
        float(drops.compute()), abs=1e-5
    )
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pt")
    words = [*foreign, f"weights={tmp_path}/weights.pt", "methods=[fakecam]", NONE]
    again = evaluated(*words)
    assert again.results["fakecam"]["accuracy"] == found.results["gradcam"]["accuracy"]
    assert again.folder != found.folder


def test_the_classifier_of_a_checkpoint_is_tested(run, evaluated):
    """The classifier inside an F-CAM is tested, on the checkpoint's data."""
    words = ["methods=[gradcam,opticam]", "attribution.opticam.iterations=2", DROP]
    whole = evaluated(f"checkpoint={run.folder}", *words)
    found = evaluated(f"classifier={run.folder}", *words)
    assert set(found.results) == {"gradcam", "opticam"} | FLOORS
    for method, values in found.results.items():
        assert values == pytest.approx(whole.results[method], abs=1e-6)
    saved = json.loads((found.folder / "results.json").read_text())
    assert saved["classifier"] == str(run.folder)
    assert saved["box_threshold"] == 0.5  # the checkpoint's is that of the native map


def test_a_box_threshold_is_a_fraction(run, evaluated):
    for wrong in ("1.5", "-0.1", "half"):
        with pytest.raises(UserError, match=f"box_threshold={wrong}: expected"):
            evaluated(f"checkpoint={run.folder}", f"box_threshold={wrong}")


def test_what_a_classifier_s_checkpoint_knows_is_not_asked_for(run, evaluated):
    best = run.folder / "checkpoints" / "best.ckpt"
    for key in ("layer=layer4", "weights=x.pt", "num_classes=3"):
        with pytest.raises(UserError, match=f"{key}: leave it out"):
            evaluated(f"classifier={best}", key)
    with pytest.raises(UserError, match="'native' is the map of a trained model"):
        evaluated(f"classifier={best}", "methods=[native,gradcam]")


def test_own_code_and_missing_weights_do(foreign, evaluated):
    words = [word for word in foreign if not word.startswith(("classifier", "weights"))]
    with pytest.warns(UserWarning, match="random weights"):
        found = evaluated(
            "classifier=timm:resnet10t", *words, "methods=[fakecam]", "weights=null", NONE
        )
    assert set(found.results) == {"fakecam"} | FLOORS
    words = [word for word in words if not word.startswith(("num_classes", "layer"))]
    own = "classifier=tests.pipeline.evaluation.test_evaluate:own_network"
    with warnings.catch_warnings():  # its weights are its own matter
        warnings.filterwarnings("error", ".*random weights")
        evaluated(own, "layer='0'", *words, "methods=[gradcam]", NONE)


def own_network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 16),
    )


def test_labels_alone_and_no_training_images_are_enough(foreign, evaluated, creatures, tmp_path):
    bare = tmp_path / "bare"
    (bare / "metadata" / "test").mkdir(parents=True)
    shutil.copytree(creatures / "images" / "test", bare / "images" / "test")
    for name in ("image_ids.txt", "class_labels.txt"):
        source = creatures / "metadata" / "test" / name
        shutil.copy(source, bare / "metadata" / "test" / name)
    found = evaluated(
        *foreign,
        f"data.root={bare}",
        f"data.metadata={bare}/metadata",
        "methods=[gradcam]",
        "evaluate.faithfulness=[average_gain]",
    )
    assert set(found.results) == {"gradcam"}
    figures = set(found.results["gradcam"])
    assert {"accuracy", "average_gain"} <= figures
    assert not figures & {"max_box_acc", "best_threshold", "pxap"}
    assert "iou" not in read_rows(found.folder / "images.csv")[0]


def test_without_input_normalization_the_network_sees_colors(run, evaluated):
    """App. G of paper 000: the network gets colors in [0, 1], where black and zero are the same."""
    words = [f"checkpoint={run.folder}", "methods=[gradcam]", DROP]
    raw = evaluated(*words, "data.mean=[0,0,0]", "data.std=[1,1,1]", "evaluate.mask_color=black")
    normalized = evaluated(*words)
    drops = AverageDrop()
    classifier = load_network(read_checkpoint(run.folder)).classifier.eval()
    for batch in build_data(read_checkpoint(run.folder).config, "test").dataloader("test"):
        images = batch["image"] * IMAGENET_STD + IMAGENET_MEAN
        maps = GradCAM()(classifier, images, batch["label"])
        drops.update(*masked_probabilities(classifier, images, maps, batch["label"])[:2])
    found = raw.results["gradcam"]["average_drop"]
    assert found == pytest.approx(float(drops.compute()), abs=1e-5)
    assert abs(found - normalized.results["gradcam"]["average_drop"]) > 1e-5


def test_two_processes_count_as_one(run, evaluated, tmp_path):
    """17 images on two processes, which agree on a folder: the same files, every image once."""
    words = [f"checkpoint={run.folder}", "methods=[gradcam]", DROP, "pictures.images=5"]
    words += ["studies=[cues,removal,bank,selectivity,boxes]"]
    words += [f"+studies.bank.classifiers=[{run.folder}]", "studies.selectivity.exponents=[0.5,2]"]
    one = evaluated(*words)
    words = [word.removeprefix("+") for word in words]
    words += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, ROOT / "evaluate.py", *words, "trainer.devices=2"],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (two,) = (tmp_path / "here" / "outputs").glob("*/*-evaluate")
    found = json.loads((two / "results.json").read_text())["test"]
    for method, values in one.results.items():
        assert found[method] == pytest.approx(values, abs=1e-6), method
    ours, theirs = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for folder in (one.folder, two)
    )
    assert ours == theirs
    tables = ("cues.csv", "removal.csv", "bank.csv", "selectivity.csv", "boxes.csv")
    for name in ("images.csv", *tables):
        assert len(read_rows(two / name)) > 1
        for row, expected in zip(read_rows(two / name), read_rows(one.folder / name), strict=True):
            assert list(map(number, row.values())) == pytest.approx(
                list(map(number, expected.values())), abs=2e-4, nan_ok=True
            )


def number(cell):
    """Value of a cell; the bytes of a text as a number, which only an equal text has."""
    try:
        return float(cell or "nan")
    except ValueError:
        return int.from_bytes(cell.encode())


def test_class_names_of_a_file_are_read_and_counted(run, evaluated, tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a\n")
    words = [f"checkpoint={run.folder}", "methods=[native]", "evaluate.faithfulness=[]"]
    with pytest.raises(UserError, match=r"data\.class_names: names 1 classes, but .* knows 16"):
        evaluated(*words, f"data.class_names={path}")
    words = evaluation_words([*words, "data.class_names=nowhere"])
    config = compose_checked(words, CONFIG_NAME, complete=False)
    with pytest.raises(UserError, match=r"data\.class_names=.*nowhere: there is no such file"):
        COMMANDS["evaluate"].check(config)


def test_a_misspelt_key_of_the_checkpoint_s_data_is_found(run, evaluated):
    with pytest.raises(UserError, match=r"data\.rot .*nearest: root"):
        evaluated(f"checkpoint={run.folder}", "data.rot=elsewhere")
