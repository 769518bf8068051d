"""Trainings on images with any number of classes, some of them without class, box or mask."""

import shutil

import pytest

from learned_saliency.datamodules import CreaturesRenderer
from learned_saliency.pipeline.cli import UserError, compose_checked
from learned_saliency.pipeline.training import make_plan, train

CLASSES = 4


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """Two animals per image; nothing is told of two images of val and test, and no box of one."""
    root = tmp_path_factory.mktemp("animals") / "set"
    sizes = {"train_images": 8, "val_images": 6, "test_images": 6}
    reader = CreaturesRenderer(32, **sizes, num_classes=CLASSES, workers=1, animals=2)
    reader.prepare(root, root / "metadata")
    shutil.rmtree(root / "checksums")
    for split in ("train", "val", "test"):
        names = (root / f"metadata/{split}/image_ids.txt").read_text().split()
        for file, gone in (
            ("class_labels.txt", names[:2]),
            ("localization.txt", names[:3]),
            ("masks.txt", names[:3]),
        ):
            path = root / "metadata" / split / file
            if path.is_file():
                lines = path.read_text().splitlines()
                kept = [line for line in lines if line.partition(",")[0] not in gone]
                path.write_text("\n".join(kept) + "\n")
    return root


@pytest.fixture
def words(small_run, animals):
    kept = [word for word in small_run if not word.startswith(("data.root=", "data.metadata="))]
    return [
        *kept,
        f"data.root={animals}",
        f"data.metadata={animals}/metadata",
        "data.reader=null",
        "data.task=multilabel",
    ]


@pytest.mark.parametrize("foreground", ["any", "class"])
def test_a_run_trains_and_tests_beside_images_of_which_nothing_is_told(words, foreground):
    further = [
        f"model.foreground={foreground}",
        "model.methods=[native,cam]",
        "zerobox.also=[zerobox_insertion,zerobox_pseudo_boxes]",
    ]
    run = train(compose_checked([*words, "model=fcam", *further]))
    for name in ("native", "cam"):
        for metric in ("max_box_acc_v2", "pxap", "energy_pointing_game", "f1"):
            assert 0 <= run.results[name][metric] <= 1
    assert abs(run.val["zerobox_insertion"]) <= 1  # insertion minus deletion
    lines = (run.folder / "metrics.csv").read_text()
    assert "zerobox_pseudo_boxes" in lines
    assert "nan" not in lines.lower()


def test_casm_names_the_score_that_has_a_meaning(words):
    with pytest.raises(UserError, match=r"model\.module.*choose model\.score=classification"):
        make_plan(compose_checked([*words, "model=casm"]))
