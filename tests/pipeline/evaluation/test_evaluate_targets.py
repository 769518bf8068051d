"""Evaluation of maps of what is no class."""

import csv
import json

import pytest
import torch

from learned_saliency.attribution import GradCAM, RegionScore, split
from learned_saliency.metrics import MaxBoxAcc, PxAP
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.runs import build_data
from tests.support import own_networks
from tests.support.own_networks import OWN
from tests.support.words import FLOORS

LOCALIZATION = {"max_box_acc", "max_box_acc_v2", "pxap"}


@pytest.fixture
def words(foreign):
    """Words of an evaluation of a network of one's own on the creatures."""
    names = ("classifier", "weights", "layer", "num_classes")
    return [word for word in foreign if not word.startswith(names)] + ["layer=body"]


def test_labels_are_indices_of_scores(words, evaluated):
    own = [f"classifier={OWN}:segmentation", f"target={OWN}:upper_half", "methods=[gradcam]"]
    found = evaluated(*words, *own)
    assert set(found.results) == {"gradcam"} | FLOORS
    values = found.results["gradcam"]
    assert set(values) >= LOCALIZATION
    assert not {"accuracy", "top5_accuracy", "average_drop"} & set(values)
    data = build_data(compose_checked([*words[:-1], "seed=0"]), "test")
    region = torch.zeros(16, 16)
    region[:8] = 1
    classifier = split(own_networks.segmentation(), "body", outputs=RegionScore(region, "out"))
    boxes, masks, scores = MaxBoxAcc(), PxAP(), []
    for batch in data.dataloader("test"):
        maps = GradCAM()(classifier, batch["image"], batch["label"])
        boxes.update(maps, batch["boxes"])
        masks.update(maps, batch["mask"])
        scores += classifier(batch["image"]).gather(1, batch["label"][:, None])[:, 0].tolist()
    assert values["max_box_acc"] == float(boxes.compute())
    assert values["pxap"] == pytest.approx(float(masks.compute()), abs=1e-6)
    with (found.folder / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == pytest.approx(scores, abs=1e-4)
    assert [row["target"] for row in rows] == [row["label"] for row in rows]
    assert "predicted" not in rows[0]
    assert json.loads((found.folder / "results.json").read_text())["target"] == own[1][7:]
    assert (found.folder / "pictures" / "maps.png").is_file()


def test_a_regression_has_no_labels(words, evaluated):
    own = [f"classifier={OWN}:regression", "methods=[gradcam]"]
    own += ["target=learned_saliency.attribution:RawScores"]
    with pytest.raises(UserError, match=r"gives 1 scores, but .* 16 classes; evaluate.explained="):
        evaluated(*words, *own)
    found = evaluated(*words, *own, "evaluate.explained=predicted")
    assert set(found.results["gradcam"]) >= LOCALIZATION
    assert "accuracy" not in found.results["gradcam"]


def test_studies_look_at_classes(words, evaluated):
    own = [f"classifier={OWN}:segmentation", f"target={OWN}:upper_half", "studies=[removal]"]
    with pytest.raises(UserError, match=r"studies=\[removal\]: look at classes, but target="):
        evaluated(*words, *own)
