"""Evaluations in other precisions, layouts and with folded BatchNorm, and what they tell of it."""

import json

import pytest
import torchvision
from safetensors.torch import save_file

from learned_saliency.pipeline.cli import UserError
from tests.pipeline.evaluation.conftest import DROP, NONE

QUICK = ["pictures.images=0", "pictures.gallery=0"]


def read(found):
    return json.loads((found.folder / "results.json").read_text())


def test_folded_maps_of_a_foreign_network_are_the_same(foreign, evaluated, capfd):
    words = [*foreign, "methods=[gradcam,liftcam]", DROP, *QUICK, "limit=6"]
    plain, folded = evaluated(*words), evaluated(*words, "fold_batchnorm=true")
    for name in ("gradcam", "liftcam"):
        for figure in ("average_drop", "map_mean", "pxap"):  # equal maxima may move the others
            value = plain.results[name][figure]
            assert folded.results[name][figure] == pytest.approx(value, abs=1e-3)
    assert "explaining" not in read(plain)
    record = read(folded)["explaining"]
    assert record["fold_batchnorm"] is True
    assert record["folded"] == 14  # all that there are
    effect = record["effect"]
    assert effect["images"] == 6
    assert effect["same_class"] == 1
    assert effect["maps"].keys() == {"gradcam", "liftcam"}
    assert all(found["largest"] < 1e-3 for found in effect["maps"].values())
    assert all(found["correlation"] > 0.9999 for found in effect["maps"].values())
    told = capfd.readouterr().err
    assert told.count("evaluate.py: fold_batchnorm=true: 6 images beside plain float32: same") == 1


def test_a_trained_network_folds_with_its_decoder(run, evaluated):
    words = [f"checkpoint={run.folder}", "methods=[native,gradcam]", NONE, *QUICK]
    found = evaluated(*words, "fold_batchnorm=true", "precision=bf16", "channels_last=false")
    record = read(found)["explaining"]
    assert record["precision"] == "bf16"
    assert record["channels_last"] is False
    assert record["folded"] > 14  # more than the encoder has
    assert record["effect"]["maps"].keys() == {"native", "gradcam"}
    assert 0 < record["effect"]["logits"]["largest"] < 1
    assert found.results["native"]["max_box_acc"] == pytest.approx(
        run.results["native"]["max_box_acc"], abs=0.2
    )


def test_networks_without_batchnorm_and_finished_maps_are_refused(foreign, evaluated, tmp_path):
    with pytest.raises(UserError, match="fold_batchnorm=true: the network has no BatchNorm; leave"):
        evaluated(
            "classifier=torchvision:squeezenet1_0",
            "layer=features",
            *foreign[4:],
            "methods=[gradcam]",
            NONE,
            "fold_batchnorm=true",
            "num_classes=16",
            f"weights={squeezenet(tmp_path)}",
        )
    (tmp_path / "maps").mkdir()
    with pytest.raises(UserError, match="fold_batchnorm=true: is a network's, but maps alone"):
        evaluated(f"maps={tmp_path}/maps", *foreign[4:], "fold_batchnorm=true")


def squeezenet(folder):
    path = folder / "squeezenet.safetensors"
    save_file(torchvision.models.squeezenet1_0(num_classes=16).state_dict(), path)
    return path
