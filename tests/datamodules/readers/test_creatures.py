import csv
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from learned_saliency.datamodules import CreaturesRenderer, DataError, read_split
from learned_saliency.datamodules.creatures import store
from learned_saliency.datamodules.creatures.anatomy import PARTS
from learned_saliency.datamodules.creatures.classes import class_attributes
from learned_saliency.datamodules.creatures.scene import SceneOptions, render_scene
from learned_saliency.datamodules.readers import creatures as creatures_reader
from tests.support.paths import ROOT

SMALL = {"image_size": 48, "train_images": 16, "val_images": 16, "test_images": 48}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("creatures") / "set"
    CreaturesRenderer(**SMALL, workers=1).prepare(folder, folder / "metadata")
    return folder


def test_two_workers_write_the_bytes_of_one(root, tmp_path):
    CreaturesRenderer(**SMALL, workers=2).prepare(tmp_path / "set", tmp_path / "set/metadata")
    assert digests(tmp_path / "set") == digests(root)


def test_another_seed_changes_every_image(root, tmp_path):
    CreaturesRenderer(**SMALL, seed=1).prepare(tmp_path / "set", tmp_path / "set/metadata")
    ours, theirs = digests(root), digests(tmp_path / "set")
    images = [name for name in ours if name.startswith("images")]
    assert len(images) == 80
    assert all(ours[name] != theirs[name] for name in images)


def test_an_image_does_not_depend_on_the_size_of_its_split(root, tmp_path):
    larger = SMALL | {"val_images": 20}
    CreaturesRenderer(**larger).prepare(tmp_path / "set", tmp_path / "set/metadata")
    ours, theirs = digests(root), digests(tmp_path / "set")
    shared = [name for name in ours if name.endswith(".png")]
    assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}


def test_no_image_occurs_twice(root):
    images = [value for name, value in digests(root).items() if name.startswith("images")]
    assert len(set(images)) == len(images) == 80


def test_metadata_agree_with_the_files(root):
    for split, count in (("train", 16), ("val", 16), ("test", 48)):
        metadata = root / "metadata" / split
        ids = [row[0] for row in read_rows(metadata / "image_ids.txt")]
        assert ids == [f"images/{split}/{i + 1:05d}.png" for i in range(count)]
        labels = read_rows(metadata / "class_labels.txt")
        assert labels == [[name, str(i % 16)] for i, name in enumerate(ids)]
        assert read_rows(metadata / "image_sizes.txt") == [[name, "48", "48"] for name in ids]
        assert all(cv2.imread(str(root / name)).shape == (48, 48, 3) for name in ids)


def test_training_split_has_labels_only(root):
    names = sorted(path.name for path in (root / "metadata/train").iterdir())
    assert names == ["class_labels.txt", "image_ids.txt", "image_sizes.txt"]
    assert sorted(path.name for path in (root / "masks").iterdir()) == ["test", "val"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_boxes_are_tight_and_parts_fill_the_mask(root, split):
    metadata = root / "metadata" / split
    boxes = {name: list(map(int, box)) for name, *box in read_rows(metadata / "localization.txt")}
    parts = dict(read_rows(metadata / "parts.txt"))
    rows = read_rows(metadata / "masks.txt")
    assert len(rows) == len(boxes) == len(parts) > 0
    for name, mask_path, ignore_path in rows:
        mask = cv2.imread(str(root / mask_path), cv2.IMREAD_UNCHANGED)
        part = cv2.imread(str(root / parts[name]), cv2.IMREAD_UNCHANGED)
        assert ignore_path == ""
        assert set(np.unique(mask)) == {0, 1}
        assert set(np.unique(part)) == {0, 1, 2, 3, 4}
        np.testing.assert_array_equal(part > 0, mask > 0)
        x, y, width, height = cv2.boundingRect(mask)
        assert boxes[name] == [x, y, x + width - 1, y + height - 1]


def test_attribute_table_and_class_names_describe_the_classes(root):
    header, *rows = read_rows(root / "metadata/attributes.txt")
    assert header == ["label", "head", "wing", "tail", "body"]
    assert tuple(header[1:]) == PARTS
    assert [int(row[0]) for row in rows] == list(range(16))
    assert [tuple(row[1:]) for row in rows] == class_attributes(16)
    assert {row[4] for row in rows} == {"any"}
    names = read_rows(root / "metadata/class_names.txt")
    assert names == [[row[0], "-".join(row[1:4])] for row in rows]


def test_a_redundant_set_differs_where_its_table_says(tmp_path):
    renderer = CreaturesRenderer(**SMALL, evidence="redundant")
    renderer.prepare(tmp_path / "set", tmp_path / "set/metadata")
    rows = read_rows(tmp_path / "set/metadata/attributes.txt")[1:]
    assert rows[1][1] != rows[0][1]  # siblings by the head alone
    assert rows[1][2:] == rows[0][2:]
    assert rows[0][1:] == ["red round", "yellow pointed", "orange forked", "green spots"]
    names = read_rows(tmp_path / "set/metadata/class_names.txt")
    assert names[0] == ["0", "red_round-yellow_pointed-orange_forked-green_spots"]


def test_a_planted_set_is_the_same_but_for_its_tags_which_it_lists(root, tmp_path):
    options = SMALL | {"cue_class": 3, "cue_strength": 1.0}
    place = tmp_path / "set"
    CreaturesRenderer(**options, workers=1).prepare(place, place / "metadata")
    ours, theirs = digests(root), digests(place)
    changed = {name for name in ours if ours[name] != theirs[name]}
    tables = {f"checksums/{split}.txt" for split in ("train", "val", "test")}
    listed = {
        row[0]: list(map(int, row[1:]))
        for split in ("train", "val", "test")
        for row in read_rows(place / "metadata" / split / "planted.txt")
    }
    assert changed == {*listed, *tables, "creatures.json", "metadata/creatures.json"}
    assert len(listed) >= 4
    for name, (x0, y0, x1, y1) in listed.items():
        differs = (cv2.imread(str(root / name)) != cv2.imread(str(place / name))).any(axis=2)
        assert [x0, y0, x1 - x0 + 1, y1 - y0 + 1] == list(cv2.boundingRect(differs.astype("u1")))
    again = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    CreaturesRenderer(**options, workers=1).prepare(place, place / "metadata")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == again
    with pytest.raises(DataError, match=r"cue_strength 1.0 instead of 0.5; choose"):
        CreaturesRenderer(**options | {"cue_strength": 0.5}).prepare(place, place / "metadata")


def test_a_complete_folder_is_reused(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    CreaturesRenderer(**SMALL, workers=2).prepare(root, root / "metadata")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_metadata_elsewhere_is_a_copy(root, tmp_path):
    CreaturesRenderer(**SMALL).prepare(root, tmp_path / "metadata")
    assert digests(tmp_path / "metadata") == digests(root / "metadata")
    CreaturesRenderer(**SMALL).prepare(root, tmp_path / "metadata")


def test_other_parameters_are_refused_and_named(root):
    before = digests(root)
    with pytest.raises(DataError, match=r"set holds .*seed 0 instead of 1; choose another folder"):
        CreaturesRenderer(**SMALL, seed=1).prepare(root, root / "metadata")
    with pytest.raises(DataError, match=r"clutter 1.0 instead of 2.0"):
        CreaturesRenderer(**SMALL, clutter=2.0).prepare(root, root / "metadata")
    assert digests(root) == before


@pytest.mark.parametrize("stamp", [None, "no json", "[1, 2]"])
def test_a_folder_of_other_files_is_refused_and_kept(tmp_path, stamp):
    (tmp_path / "photo.txt").write_text("mine")
    if stamp:
        (tmp_path / "creatures.json").write_text(stamp)
    with pytest.raises(DataError, match="holds"):
        CreaturesRenderer(**SMALL).prepare(tmp_path, tmp_path / "metadata")
    assert (tmp_path / "photo.txt").read_text() == "mine"
    assert not (tmp_path / "images").exists()


def test_a_folder_of_images_of_the_same_names_is_refused_and_kept(tmp_path):
    for name in ("images/train", "masks/val", "metadata"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "images/train/00001.png").write_text("mine")
    with pytest.raises(DataError, match="holds other files than the creatures"):
        CreaturesRenderer(**SMALL).prepare(tmp_path, tmp_path / "metadata")
    assert (tmp_path / "images/train/00001.png").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path):
    CreaturesRenderer(**SMALL).prepare(tmp_path, tmp_path / "metadata")
    assert json.loads((tmp_path / "creatures.json").read_text())["num_classes"] == 16


@pytest.fixture
def whole(root, tmp_path):
    """Copy the set, to be damaged."""
    return shutil.copytree(root, tmp_path / "set")


DAMAGES = {
    "an image is cut": lambda root: cut(root / "images/train/00003.png"),
    "an image is gone": lambda root: (root / "images/val/00003.png").unlink(),
    "an image is another": lambda root: shutil.copy(
        root / "images/val/00003.png", root / "images/val/00004.png"
    ),
    "an image is a pipe": lambda root: piped(root / "images/train/00003.png"),
    "a mask is empty": lambda root: (root / "masks/test/00048.png").write_bytes(b""),
    "part masks are gone": lambda root: shutil.rmtree(root / "parts"),
    "the images are gone": lambda root: shutil.rmtree(root / "images"),
    "a list is cut": lambda root: cut(root / "metadata/train/image_ids.txt"),
    "the boxes are others": lambda root: (root / "metadata/val/localization.txt").write_text("x"),
    "metadata are gone": lambda root: shutil.rmtree(root / "metadata"),
    "the stamp is cut": lambda root: cut(root / "creatures.json"),
    "the stamp is gone": lambda root: (root / "creatures.json").unlink(),
    "both stamps are gone": lambda root: [p.unlink() for p in root.rglob("creatures.json")],
    "the checksums are cut": lambda root: cut(root / "checksums/train.txt"),
    "a checksum is another": lambda root: changed(root / "checksums/val.txt"),
    "the checksums are gone": lambda root: shutil.rmtree(root / "checksums"),
    "the checksums are no text": lambda root: (root / "checksums/test.txt").write_bytes(b"\xff\0"),
}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def piped(path):
    path.unlink()
    os.mkfifo(path)


def changed(path):
    text = path.read_text()
    path.write_text(text.replace(text[40], "0" if text[40] != "0" else "1", 1))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_rendered_again(whole, root, damage):
    DAMAGES[damage](whole)
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.png") if path.is_file()}
    CreaturesRenderer(**SMALL, workers=1).prepare(whole, whole / "metadata")
    assert digests(whole) == digests(root)
    written = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    of_one_image = len({(path.parent.name, path.name) for path in written}) <= 1
    assert of_one_image or damage.endswith(("are gone", "are cut", "are no text"))


def test_a_split_is_rendered_when_it_is_asked_for(root, tmp_path):
    renderer, folder = CreaturesRenderer(**SMALL, workers=1), tmp_path / "set"
    renderer.prepare_splits(folder, folder / "metadata", ["val"])
    assert sorted(path.name for path in (folder / "images").iterdir()) == ["val"]
    assert not (folder / "metadata/test").exists()
    assert read_split(folder / "metadata/val", localization=True).boxes is not None
    renderer.prepare_splits(folder, folder / "metadata", ["train", "test"])
    assert digests(folder) == digests(root)


def test_fewer_images_are_a_part_and_more_are_added(whole, root, monkeypatch):
    rendered = []

    def prepare(metadata, **numbers):
        renderer = CreaturesRenderer(**(SMALL | numbers), workers=1)
        images = renderer.images
        draw = images.draw
        monkeypatch.setattr(images, "draw", lambda *which: rendered.append(which) or draw(*which))
        renderer.prepare(whole, whole / metadata)
        return read_split(whole / metadata / "test", localization=True).image_ids

    ids = prepare("metadata-2", test_images=20)
    assert ids == [f"images/test/{i + 1:05d}.png" for i in range(20)]
    assert rendered == []
    assert len(prepare("metadata-3", test_images=50)) == 50
    assert rendered == [("test", 48), ("test", 49)]
    assert prepare("metadata-2", test_images=20) == ids
    theirs = digests(root)
    ours = digests(whole)
    assert {name: ours[name] for name in theirs if "checksums/test" not in name} == {
        name: value for name, value in theirs.items() if "checksums/test" not in name
    }
    assert len(rendered) == 2


def test_a_complete_set_needs_no_right_to_write(whole, monkeypatch):
    def refused(path, content):
        raise PermissionError(13, "denied", str(path))

    for module in (creatures_reader, store):
        monkeypatch.setattr(module, "replace_file", refused)
    CreaturesRenderer(**SMALL).prepare(whole, whole / "metadata")
    with pytest.raises(PermissionError):
        CreaturesRenderer(**SMALL | {"test_images": 49}).prepare(whole, whole / "metadata")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_interruption_the_next_call_goes_on(tmp_path, root, monkeypatch, error):
    renderer = CreaturesRenderer(**SMALL, workers=1)
    draw = renderer.images.draw

    def interrupted(split, number):
        if (split, number) == ("test", 40):
            raise error("stop")
        return draw(split, number)

    monkeypatch.setattr(renderer.images, "draw", interrupted)
    threads = cv2.getNumThreads()
    with pytest.raises(error, match="stop"):
        renderer.prepare(tmp_path / "set", tmp_path / "set/metadata")
    assert cv2.getNumThreads() == threads
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "set/metadata").exists()
    CreaturesRenderer(**SMALL, workers=1).prepare(tmp_path / "set", tmp_path / "set/metadata")
    assert digests(tmp_path / "set") == digests(root)


@pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")
def test_processes_that_render_at_the_same_time_do_not_disturb_each_other(tmp_path, root):
    def render():
        CreaturesRenderer(**SMALL, workers=1).prepare(tmp_path / "set", tmp_path / "set/metadata")

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=render) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert digests(tmp_path / "set") == digests(root)


def test_the_default_folder_is_named_by_all_that_its_bytes_depend_on():
    config = OmegaConf.load(ROOT / "configs/data/creatures.yaml")
    identity = CreaturesRenderer()._identity()
    name = config._get_node("root")._value()
    assert name.endswith(f"-v{creatures_reader.VERSION}")
    assert all(f"${{.reader.{key}}}" in name for key in identity if key != "version")
    planted = CreaturesRenderer(cue_class=3, cue_strength=0.5)._identity().keys() - identity
    assert f"${{named:${{.reader}},{','.join(sorted(planted))}}}" in name
    assert "_images" not in name
    metadata = config._get_node("metadata")._value()
    assert all(f"${{.reader.{split}_images}}" in metadata for split in ("train", "val", "test"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 16}, "image_size must be at least 32"),
        ({"num_classes": 65}, "num_classes must be 2 to 64, got 65"),
        ({"num_classes": 1}, "num_classes must be 2 to 64, got 1"),
        ({"num_classes": 33, "evidence": "redundant"}, "num_classes must be 2 to 32, got 33"),
        ({"num_classes": 9, "evidence": "vivid"}, "num_classes must be 2 to 8, got 9"),
        ({"evidence": "none"}, r"evidence must be one of \('combined', .*'vivid'\), got 'none'"),
        ({"val_images": 15}, r"val_images must be at least num_classes \(16\), got 15"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"min_area": 0.7}, "min_area 0.7 and max_area 0.6"),
        ({"contrast": 61}, r"contrast must be in \[0, 60\], got 61"),
        ({"clutter": float("nan")}, "clutter must be in"),
        ({"part_size": 0.1}, "part_size must be in"),
        ({"noise": -0.1}, "noise must be in"),
        ({"cue_class": 16, "cue_strength": 1.0}, r"cue_class must be in \[0, 15\], got 16"),
        ({"cue_class": 3, "cue_strength": 0.0}, r"cue_strength must be in \(0, 1\], got 0.0"),
        ({"cue_class": 3}, "cue_class and cue_strength go together, got 3 and None"),
        ({"cue_strength": 0.5}, "cue_class and cue_strength go together, got None and 0.5"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CreaturesRenderer(**(SMALL | options))


def test_an_impossible_area_range_is_an_error():
    options = SceneOptions(image_size=32, min_area=0.1999, max_area=0.2)
    with pytest.raises(RuntimeError, match="widen the range"):
        render_scene(class_attributes(2)[0], options, np.random.default_rng(0))
