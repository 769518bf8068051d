"""Tables of classes: both forms, uncertain answers, splits of all kinds, and faults by line."""

import json

import numpy as np
import pytest

from learned_saliency.datamodules import DataError, LabelsReader, read_multilabel_split
from tests.support import photos
from tests.support.manylabel_layouts import labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return labels(tmp_path_factory.mktemp("labels"))


@pytest.fixture
def few(tmp_path):
    """Six photographs without a table."""
    for k in range(6):
        photos.save(tmp_path / "few" / f"{k}.jpg", k)
    return tmp_path / "few"


def read(root, metadata, table=None, **options):
    if table is not None:
        (root / "labels.csv").write_text("\n".join(table) + "\n")
    LabelsReader(**{"keep_similar": False} | options).prepare(root, metadata)
    return {
        path.name: read_multilabel_split(path, localization=path.name != "train")
        for path in metadata.iterdir()
        if path.is_dir()
    }


def names_of(metadata):
    return (metadata / "class_names.txt").read_text().splitlines()


def classes_of(splits):
    """Classes of each image by its name."""
    return {
        file: np.flatnonzero(row).tolist()
        for split in splits.values()
        for file, row in zip(split.files, split.presence, strict=True)
    }


def test_images_are_found_by_their_stems_and_groups_stay_together(folder, tmp_path):
    splits = read(folder, tmp_path / "made", group_column="person", boxes="boxes.csv")
    assert names_of(tmp_path / "made") == ["0,cat", "1,dog"]
    found = classes_of(splits)
    expected = {
        f"room{k % 2}/p{k:02}.jpg": [0] * (k % 2 == 0) + [1] * (k % 3 == 0) for k in range(24)
    }
    assert found == expected
    split_of = {file[-6:-4]: name for name, split in splits.items() for file in split.files}
    assert all(split_of[f"{k:02}"] == split_of[f"{k + 1:02}"] for k in range(0, 24, 2))
    told = json.loads((tmp_path / "made" / "splits.json").read_text())
    assert told["images"] == {"train": 16, "val": 4, "test": 4}
    assert len(told["kept_together"]) == 12
    boxes = {
        (s.labels[i], *b)
        for s in (splits["val"], splits["test"])
        for i, b in zip(s.box_images, s.boxes.tolist(), strict=True)
    }
    assert boxes == {(0, 2, 3, 15, 20), (1, 20, 4, 38, 29)}


def test_a_column_per_class_with_blanks_and_uncertain_answers(few, tmp_path):
    table = ["file;split;Dog;Tabby Cat", "0.jpg;train;1;0", "1;training;;1.0", "2;valid;-1;1"]
    table += ["3;test;1;-1.0", "4;val;1;1"]
    told = r"labels\.csv, line 4: -1 in the column 'Dog'.*uncertain=absent"
    with pytest.raises(DataError, match=told):
        read(few, tmp_path / "made", table, split_column="split")
    options = {"split_column": "Split", "uncertain": "present"}
    splits = read(few, tmp_path / "made", table, **options)
    assert names_of(tmp_path / "made") == ["0,Dog", "1,Tabby Cat"]
    expected = {"0.jpg": [0], "1.jpg": [1], "2.jpg": [0, 1], "3.jpg": [0, 1], "4.jpg": [0, 1]}
    assert classes_of(splits) == expected
    assert {name: len(set(split.files)) for name, split in splits.items()} == {
        "train": 2,
        "val": 2,
        "test": 1,
    }
    splits = read(few, tmp_path / "made", table, **options | {"uncertain": "absent"})
    assert [classes_of(splits)[f"{k}.jpg"] for k in (2, 3)] == [[1], [0]]


def test_class_columns_may_be_chosen_and_labels_be_empty(few, tmp_path):
    rows = [f"{k}.jpg,{k % 2},{(k + 1) % 2},31 years" for k in range(6)]
    table = ["name,a,b,age", *rows]
    with pytest.raises(DataError, match="line 2: '31 years' in the column 'age' is neither"):
        read(few, tmp_path / "made", table)
    read(few, tmp_path / "made", table, class_columns=["B", "a"])
    assert names_of(tmp_path / "made") == ["0,b", "1,a"]
    table = ["id,tags", "0,x / y", "1,", "2,y", "3,x", "4,y", "5,x"]
    splits = read(few, tmp_path / "made", table, separator="/")
    assert classes_of(splits)["0.jpg"] == [0, 1]
    assert classes_of(splits)["1.jpg"] == []


def test_lists_of_files_give_the_splits(few, tmp_path):
    table = ["image,labels", *(f"{k}.jpg,{'ab'[k % 2]}" for k in range(6))]
    lines = ["0.jpg,train", "1.jpg,train", "2.jpg,val", "3.jpg,test"]
    (few / "splits.txt").write_text("\n".join(lines))
    splits = read(few, tmp_path / "made", table, splits="splits.txt")
    assert sorted(classes_of(splits)) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert splits["val"].files == ["2.jpg"]


def test_further_images_leave_the_splits_of_others_as_they_were(tmp_path):
    root = photos.fill(tmp_path / "photos", cat=20).parent / "photos"
    table = ["image,labels", *(f"cat_{k},{'ab'[k % 2]}" for k in range(20))]
    first = read(root, tmp_path / "made", table)
    photos.save(root / "more" / "new.jpg", 77)
    second = read(root, tmp_path / "made", [*table, "new,a"])
    split_of = [
        {file: name for name, split in found.items() for file in split.files}
        for found in (first, second)
    ]
    assert split_of[1] | split_of[0] == split_of[1]
    assert "more/new.jpg" in split_of[1]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (["0.jpg,a|b"], "line 1: has no column of images"),
        (["image", "0.jpg"], "line 1: has no column of classes"),
        (["image,labels"], "lists no image"),
        (["image,labels", "0.jpg,"], "names no class in its column 'labels'"),
        (["image,labels", "0.jpg,a,b"], "line 2: 3 fields instead of 2"),
        (["image,labels", ",a"], "line 2: the name of the image is missing"),
        (["image,labels", "9.jpg,a"], "line 2: there is no image '9.jpg'"),
        (["image,labels", "0.jpg,a", "0,b"], "line 3: 0.jpg is in .*line 2, too"),
        (["image,a,A", "0.jpg,1,1"], "line 1: has the column 'a' twice"),
        (["image,a", "0.jpg,yes"], "line 2: 'yes' in the column 'a' is neither 1, 0, -1"),
    ],
)
def test_faults_of_the_table_are_named_by_their_line(few, tmp_path, table, told):
    with pytest.raises(DataError, match=f"labels.csv.*{told}"):
        read(few, tmp_path / "made", table)


def test_faults_of_boxes_and_options_are_named(folder, few, tmp_path):
    with pytest.raises(
        DataError, match=r"line 1: has no column 'who'; correct data\.reader\.group_c"
    ):
        read(folder, tmp_path / "made", group_column="who")
    table = ["image,labels", *(f"{k}.jpg,{'ab'[k % 2]}" for k in range(6))]
    lines = ["image,x0,y0,x1,y1,class", *(f"{k}.jpg,1,1,5,5,{'ba'[k % 2]}" for k in range(6))]
    (few / "boxes.csv").write_text("\n".join(lines))
    options = {"boxes": "boxes.csv", "val_fraction": 0.3, "test_fraction": 0.3}
    told = r"boxes\.csv, line \d: \d\.jpg has no class '[ab]' in .*labels"
    with pytest.raises(DataError, match=told):
        read(few, tmp_path / "made", table, **options)
    with pytest.raises(ValueError, match="expected split_column or splits, got both"):
        LabelsReader(split_column="a", splits="b")
    with pytest.raises(ValueError, match="expected uncertain of absent, present"):
        LabelsReader(uncertain="maybe")
