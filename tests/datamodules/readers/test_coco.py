"""COCO's layout: boxes and masks as pycocotools has them, crowds, gaps in ids, and faults."""

import json
import shutil

import numpy as np
import pytest
from pycocotools.coco import COCO

from learned_saliency.datamodules import COCOReader, DataError, read_multilabel_split
from learned_saliency.datamodules.masks import read_values
from tests.support.manylabel_layouts import COCO_IDS, coco

PLACES = {
    f"{split}_files": {
        "annotations": f"annotations/instances_{split}2017.json",
        "images": f"{split}2017",
    }
    for split in ("train", "val")
}
PERSON, DOG, BRUSH = range(3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return coco(tmp_path_factory.mktemp("coco"))


def read(root, folder, split="val", **options):
    COCOReader(**PLACES | {"val_fraction": 1.0} | options).prepare(root, folder)
    return read_multilabel_split(folder / split, localization=split != "train")


def test_masks_are_those_of_pycocotools_with_crowds_ignored(root, tmp_path):
    split = read(root, tmp_path / "made")
    oracle = COCO(root / PLACES["val_files"]["annotations"])
    ids = {found["file_name"]: key for key, found in oracle.imgs.items()}
    seen = 0
    for file, label, paths in zip(split.files, split.labels, split.mask_paths, strict=True):
        if not paths:
            continue
        category = list(COCO_IDS.values())[label]
        keys = oracle.getAnnIds(ids[file.partition("/")[2]], category)
        expected = np.zeros((30, 40), np.uint8)
        for crowd, value in ((1, 128), (0, 255)):
            for found in oracle.loadAnns(keys):
                if found["iscrowd"] == crowd:
                    expected[oracle.annToMask(found) == 1] = value
        found = read_values(tmp_path / "made" / paths[0])
        np.testing.assert_array_equal(found, expected)
        seen += 1
    assert seen == 14


def test_labels_have_no_gaps_and_boxes_cover_whole_pixels(root, tmp_path):
    split = read(root, tmp_path / "made")
    names = (tmp_path / "made" / "class_names.txt").read_text().splitlines()
    assert names == ["0,person", "1,dog", "2,toothbrush"]
    boxes = {
        (file[-7:-4], label): split.boxes[split.box_images == k].tolist()
        for k, (file, label) in enumerate(zip(split.files, split.labels.tolist(), strict=True))
    }
    assert boxes["139", DOG] == [[4, 6, 15, 23]]
    assert boxes["156", PERSON] == [[20, 2, 29, 26]]
    assert boxes["190", DOG] == [[4, 6, 15, 23]]  # not the crowd
    assert boxes["190", BRUSH] == []  # a crowd alone tells that the class is there
    assert boxes["292", -1] == []
    place = list(boxes).index(("190", BRUSH))
    assert split.mask_paths[place] == []


def test_a_box_of_a_mask_is_the_box_of_its_runs(root, tmp_path):
    split = read(root, tmp_path / "made")
    place = split.labels.tolist().index(PERSON)
    y, x = np.nonzero(read_values(tmp_path / "made" / split.mask_paths[place][0]))
    (box,) = split.boxes[split.box_images == place].tolist()
    assert box == [x.min(), y.min(), x.max(), y.max()]


def test_training_images_have_labels_alone_crowds_among_them(root, tmp_path):
    split = read(root, tmp_path / "made", "train")
    assert split.files[3] == "train2017/000000000190.jpg"
    assert np.flatnonzero(split.presence[3]).tolist() == [PERSON, DOG, BRUSH]
    assert not split.presence[5].any()


def test_val_is_drawn_out_of_the_images_of_val_and_further_ones_are_tested(root, tmp_path):
    options = {"val_fraction": 0.5, "test_files": PLACES["train_files"]}
    val = read(root, tmp_path / "made", **options)
    test = read(root, tmp_path / "made", "test", **options)
    assert len(set(val.files)) == 5
    assert len(set(test.files)) == 11
    assert sum(file.startswith("train2017") for file in set(test.files)) == 6
    assert all(path.startswith("masks/") for paths in test.mask_paths for path in paths)
    assert COCOReader(**PLACES).published["train"].images == 118287
    assert COCOReader(**PLACES).published["test"].images == 4000


def test_without_masks_there_are_boxes_alone(root, tmp_path):
    split = read(root, tmp_path / "made", make_masks=False)
    assert split.mask_paths is None
    assert len(split.boxes) > 0
    assert not (tmp_path / "made" / "masks").exists()


def test_metadata_is_made_anew_when_the_annotations_change(root, tmp_path):
    own = shutil.copytree(root, tmp_path / "coco")
    before = read(own, tmp_path / "made")
    path = own / PLACES["val_files"]["annotations"]
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] != 90]
    path.write_text(json.dumps(content))
    after = read(own, tmp_path / "made")
    assert BRUSH in before.labels
    assert BRUSH not in after.labels


def _set(key, number, **values):
    def spoil(content):
        content[key][number].update(values)

    return spoil


def _drop(key, number, field):
    return lambda content: content[key][number].pop(field)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_set("annotations", 1, image_id=7), r"annotations\[1\]: has the image_id 7"),
        (_set("annotations", 1, category_id=2), r"annotations: .*has the category_id 2"),
        (_set("annotations", 1, category_id="dog"), r"annotations\[1\]: has no image_id or no"),
        (_set("annotations", 1, iscrowd=2), r"annotations\[1\]: has iscrowd 2"),
        (_set("annotations", 1, bbox=[1, 2, 3]), r"annotations\[1\]: has the bbox \[1, 2, 3\]"),
        (_set("annotations", 1, bbox=[1, 2, 3, -4]), r"annotations\[1\]: .*negative side"),
        (_set("annotations", 1, bbox=[50, 2, 3, 4]), r"annotations\[1\]: the box .*lies outside"),
        (
            _set("annotations", 1, segmentation=[[1, 2]]),
            r"annotations\[1\]: the segmentation is un",
        ),
        (_set("images", 1, width=0), r"images\[1\]: has no width and height"),
        (_set("images", 1, width=10**9), r"images\[1\]: has more than \d+ pixels"),
        (_set("images", 1, id=139), r"images\[1\]: has id 139 of another one"),
        (_set("images", 1, file_name="000000000139.jpg"), "139.jpg is listed twice"),
        (_set("images", 1, file_name="a\nb"), r"images\[1\]: has a file_name with a line break"),
        (_drop("images", 1, "file_name"), r"images\[1\]: has no id or no file_name"),
        (_set("categories", 1, id=1), r"categories\[\d\]: has id 1 of another one"),
        (_set("categories", 1, name="fox"), "categories: differ from those of"),
        (lambda content: content.pop("annotations"), "has no list annotations"),
        (lambda content: content["images"].clear(), "images: is empty"),
    ],
)
def test_faults_are_named_by_file_and_record(root, tmp_path, spoil, told):
    own = shutil.copytree(root, tmp_path / "coco")
    path = own / PLACES["val_files"]["annotations"]
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"instances_val2017\.json.*{told}"):
        read(own, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_places_without_annotations_or_images_are_refused():
    with pytest.raises(ValueError, match="expected val_files with annotations and images"):
        COCOReader(train_files=PLACES["train_files"], val_files={"images": "val2017"})
    with pytest.raises(ValueError, match="expected val_fraction in"):
        COCOReader(**PLACES, val_fraction=0)
