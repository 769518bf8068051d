"""The shortcut finder as a study: given maps, its files, interruptions, refusals."""

import csv
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from learned_saliency.datamodules import CreaturesRenderer
from learned_saliency.errors import Stopped
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.evaluation.studies import Shortcuts
from learned_saliency.pipeline.evaluation.studies.shortcut_features import FeatureTable
from tests.support.given_maps import SIZE, write
from tests.support.untrained import untrained_run

WORDS = ["studies=[shortcuts]", "studies_only=true", "pictures.images=0"]
CLASS, CLASSES, IMAGES = 3, 4, 41


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Creatures of four classes, ten or eleven of each in the test split."""
    numbers = {"train_images": 4, "val_images": 4, "test_images": IMAGES}
    folder = tmp_path_factory.mktemp("few") / "set"
    renderer = CreaturesRenderer(image_size=SIZE, num_classes=CLASSES, workers=1, **numbers)
    renderer.prepare(folder, folder / "metadata")
    return folder


@pytest.fixture(scope="module")
def words(root):
    places = [f"data.root={root}", f"data.metadata={root}/metadata"]
    return ["data=wsol", *places, f"data.crop_size={SIZE}", "data.batch_size=6", *WORDS]


@pytest.fixture(scope="module")
def given(root, tmp_path_factory):
    """Maps: the true masks, blurred; of one class a spot in the lower left corner; one is flat."""
    ids = [f"images/test/{number + 1:05d}.png" for number in range(IMAGES)]
    masks = [cv2.imread(str(root / name.replace("images", "masks")), 0) for name in ids]
    maps = np.stack([cv2.GaussianBlur(mask.astype(np.float32), (5, 5), 1) for mask in masks])
    maps[CLASS::CLASSES] = 0.0
    maps[CLASS::CLASSES, SIZE - 6 : SIZE - 2, 2:6] = 1.0
    maps[0] = 0.5
    return write(tmp_path_factory.mktemp("maps"), ids, maps)


def rows_of(folder):
    with (folder / "shortcuts.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_given_maps_name_the_planted_class(given, words, evaluated, capsys):
    found = evaluated(f"maps={given}", *words)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("shortcuts")]
    assert len(said) == 2
    assert "'square-pointed-club': in 10 of its 10 images, one cluster, on average 100%" in said[0]
    assert "of the evidence lies in the lower left corner (other classes: " in said[0]
    told = f"1 of {CLASSES} tested classes flagged, 1 of {IMAGES} maps are flat"
    assert said[1] == f"shortcuts: maps: {told}"
    assert found.results["maps"]["shortcut_classes"] == 1
    assert found.results["maps"]["shortcut_flat"] == 1 / IMAGES
    assert 0.5 < found.results["maps"]["shortcut_on_object"] < 1
    rows = rows_of(found.folder)
    assert {row["class"] for row in rows if row["flagged"] == "yes"} == {str(CLASS)}
    (own,) = (row for row in rows if row["class"] == str(CLASS))
    told = [own[name] for name in ("images", "place", "off_object", "in_place")]
    assert told == ["10", "lower left corner", "yes", "yes"]
    assert (
        f"(other classes: {float(own['others_in_cell']):.0%}), off the object (p = 0.0" in said[0]
    )
    assert float(own["in_cell"]) == pytest.approx(1)
    assert float(own["on_object"]) < 0.2 < float(own["level"])
    flat = [row for row in rows if row["cluster"] == "flat"]
    assert [(row["class"], row["images"]) for row in flat] == [("0", "1")]
    assert sum(int(row["images"]) for row in rows) == IMAGES
    (picture,) = (found.folder / "pictures").iterdir()
    assert picture.name == f"shortcuts_maps_{CLASS}.png"
    assert cv2.imread(str(picture)).shape[1] > 6 * 150


def test_an_ended_study_goes_on_with_the_same_files(given, words, evaluated, tmp_path, monkeypatch):
    call = [f"maps={given}", *words]
    whole = evaluated(*call, f"output_dir={tmp_path}/whole")
    add, seen = FeatureTable.add, []

    def counted(table, index, *rest):
        seen.extend(index.tolist())
        if len(seen) > limit:
            raise Stopped(15)
        add(table, index, *rest)

    monkeypatch.setattr(FeatureTable, "add", counted)
    limit = 12
    with pytest.raises(Stopped):
        evaluated(*call, f"output_dir={tmp_path}/ended")
    done, seen[:], limit = seen[:12], [], IMAGES
    again = evaluated(*call, f"output_dir={tmp_path}/ended")
    assert sorted(done + seen) == list(range(IMAGES))
    assert again.results == whole.results
    for name in ("shortcuts.csv", f"pictures/shortcuts_maps_{CLASS}.png"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_shares_of_two_processes_are_those_of_one():
    draw = torch.Generator().manual_seed(0)
    maps, colors = torch.rand(9, 8, 8, generator=draw), torch.rand(9, 3, 8, 8, generator=draw)
    one, other, whole = (FeatureTable(["map"]) for _ in range(3))
    for rows in torch.arange(9).split(2):
        part = rows, rows % 2, {"map": maps[rows]}, colors[rows].double(), None
        whole.add(*part)
        (one if rows[0] % 4 else other).add(*part)
    one.take(other.kept())
    for found, expected in zip(one.result()["map"], whole.result()["map"], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_maps_of_a_network_are_those_of_the_class_that_the_test_explains(root, evaluated, tmp_path):
    size = [f"data.crop_size={SIZE}", f"data.resize_size={SIZE}", f"data.metadata={root}/metadata"]
    run = untrained_run(root, tmp_path / "run", "model=cam", *size)
    words = [f"checkpoint={run}", *WORDS, "methods=[cam]"]
    true = rows_of(evaluated(*words, f"output_dir={tmp_path}/true").folder)
    counts = dict.fromkeys(map(str, range(CLASSES)), 0)
    for row in true:
        counts[row["class"]] += int(row["images"]) * (row["method"] == "cam")
    assert list(counts.values()) == [11, 10, 10, 10]
    guessed = rows_of(evaluated(*words, "evaluate.explained=predicted").folder)
    assert len({row["class"] for row in guessed}) < CLASSES  # a network that knows nothing


def test_options_out_of_range_and_lacking_classes_are_refused():
    for options, message in (
        ({"confidence": 0.4}, "confidence must be in"),
        ({"ratio": 1.0}, "ratio must be in"),
        ({"excess": 0.0}, "excess must be in"),
        ({"least": 1}, "least must be at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            Shortcuts(**options)
    study = Shortcuts()
    study.check(SimpleNamespace(split="val"))
    study.check_data(SimpleNamespace(class_names=["a", "b"], num_labeled=lambda split: 0))
    with pytest.raises(UserError, match="there is only one"):
        study.check_data(SimpleNamespace(class_names=["a"], num_labeled=lambda split: 9))
    study.check_module(SimpleNamespace(has_scores=False))
    with pytest.raises(UserError, match="no image of val has a label"):
        study.check_data(SimpleNamespace(class_names=["a", "b"], num_labeled=lambda split: 0))
