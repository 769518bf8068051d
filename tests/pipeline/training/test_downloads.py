"""Miniature downloads of the papers' data sets through training and evaluation in one command."""

import json

import pytest

from learned_saliency.pipeline.cli.compose import compose_checked
from learned_saliency.pipeline.training.fit import train
from tests.support.downloads import coco, cub, imagenet, nih, openimages, parquet, pets, voc
from tests.support.words import SMALL_RUN

SIZES = [word for word in SMALL_RUN if not word.startswith(("data=", "data.reader."))]


@pytest.mark.parametrize(
    ("write", "monitor", "chosen_by", "tested_on"),
    [  # images, boxes, masks of val and of test
        (cub, "max_box_acc", (2, 2, 0), (4, 4, 4)),
        (imagenet, "max_box_acc", (3, 3, 0), (6, 7, 0)),
        (openimages, "pxap", (2, 0, 4), (4, 0, 6)),
        (pets, "pxap", (2, 2, 2), (4, 4, 4)),
        (parquet, "zerobox_pseudo_boxes", (2, 0, 0), (4, 0, 0)),
        (voc, "max_box_acc", (4, 8, 3), (6, 10, 3)),
        (coco, "max_box_acc", (4, 7, 7), (6, 7, 7)),
        (nih, "max_box_acc", (10, 2, 0), (4, 2, 0)),
    ],
)
def test_a_download_is_trained_on_and_evaluated(tmp_path, write, monitor, chosen_by, tested_on):
    root, words = write(tmp_path)
    place = [f"data.root={root}", f"data.metadata={tmp_path}/made", f"output_dir={tmp_path}/run"]
    data = f"data={write.__name__}"
    train(compose_checked([*SIZES, data, "data.num_workers=0", "model=cam", *place, *words]))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["selection"]["monitor"] == monitor
    for key, counts in (("selection", chosen_by), ("tested_on", tested_on)):
        assert tuple(results[key][kind] for kind in ("images", "boxes", "masks")) == counts
    native = results["test"]["native"]
    for kind, metric in (("boxes", "max_box_acc_v2"), ("masks", "pxap")):
        assert (metric in native) == (results["tested_on"][kind] > 0)


def test_the_recipe_of_photographs_learns_from_the_pets_in_steps(tmp_path, capsys):
    root, words = pets(tmp_path)
    place = [f"data.root={root}", f"data.metadata={tmp_path}/made", f"output_dir={tmp_path}/run"]
    small = ["data.resize_size=72", "data.crop_size=64", "data.batch_size=4", "data.num_workers=0"]
    short = ["recipe.classifier_epochs=1", "recipe.epochs=1", "recipe.epoch_steps=3"]
    recipe = ["experiment=fcam_photographs", "data=pets", "backbone.pretrained=false"]
    train(compose_checked([*recipe, *place, *words, *small, *short]))
    assert "2 steps are one pass over 6 images, an epoch takes 2 passes" in capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["training"]["steps"] == 4
    assert {"native", "cam", "centered_box"} <= set(results["test"])
    assert "pxap" in results["test"]["native"]
