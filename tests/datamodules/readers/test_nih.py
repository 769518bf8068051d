"""ChestX-ray14: its tables with their odd header, patients in one split, and faults by line."""

import shutil

import numpy as np
import pytest

from learned_saliency.datamodules import DataError, NIHReader, read_multilabel_split
from tests.support.manylabel_layouts import nih

CARDIOMEGALY, EFFUSION, INFILTRATION, MASS, THICKENING = 1, 4, 8, 9, 11


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return nih(tmp_path_factory.mktemp("nih"))


def read(root, folder, **options):
    NIHReader(**{"val_fraction": 0.3} | options).prepare(root, folder)
    return {
        split: read_multilabel_split(folder / split, localization=split != "train")
        for split in ("train", "val", "test")
    }


def patients(split):
    return {file.rpartition("/")[2][:8] for file in split.files}


def test_labels_are_findings_and_no_finding_is_none_of_them(root, tmp_path):
    split = read(root, tmp_path / "made")["test"]
    found = {
        file[-16:-4]: np.flatnonzero(row).tolist()
        for file, row in zip(split.files, split.presence, strict=True)
    }
    assert found["00000011_000"] == [CARDIOMEGALY, EFFUSION]
    assert found["00000011_001"] == [THICKENING]
    assert found["00000012_000"] == [INFILTRATION, MASS]
    assert found["00000012_001"] == []


def test_patients_are_in_one_split_and_test_is_the_official_list(root, tmp_path):
    splits = read(root, tmp_path / "made")
    people = [patients(splits[name]) for name in ("train", "val", "test")]
    assert sum(map(len, people)) == len(set().union(*people)) == 14
    assert people[2] == {f"{k:08}" for k in (11, 12, 13, 14)}
    assert 5 <= len(set(splits["val"].files)) <= 7


def test_boxes_cover_whole_pixels_and_val_gets_some_where_asked(root, tmp_path):
    splits = read(root, tmp_path / "made")
    assert splits["val"].boxes is None
    assert splits["test"].boxes.tolist() == [[4, 6, 15, 14]] * 4
    labels = splits["test"].labels[splits["test"].box_images]
    assert sorted(labels.tolist()) == [CARDIOMEGALY, CARDIOMEGALY, INFILTRATION, INFILTRATION]
    splits = read(root, tmp_path / "moved", boxed_val_fraction=0.5)
    assert len(splits["val"].boxes) == len(splits["test"].boxes) == 2
    assert not patients(splits["val"]) & patients(splits["test"])


@pytest.mark.parametrize("part", [1.0, 0.01])
def test_a_share_of_all_or_none_of_the_images_leaves_the_other_split_out(root, tmp_path, part):
    NIHReader(val_fraction=part).prepare(root, tmp_path / "made")
    there = {split for split in ("train", "val", "test") if (tmp_path / "made" / split).is_dir()}
    assert there == {"val" if part == 1 else "train", "test"}


def test_a_share_of_the_boxed_images_may_be_none(root, tmp_path):
    own = shutil.copytree(root, tmp_path / "nih")
    assert read(own, tmp_path / "few", boxed_val_fraction=0.01)["val"].boxes is None
    (own / BOXES).unlink()
    assert read(own, tmp_path / "made", boxed_val_fraction=0.5)["test"].boxes is None


def test_images_that_are_not_there_are_left_out_where_asked(root, tmp_path):
    own = shutil.copytree(root, tmp_path / "nih")
    shutil.rmtree(own / "images_002")
    with pytest.raises(DataError, match=r"train_val_list.txt, line 2: the image .*unpack all arch"):
        read(own, tmp_path / "made")
    splits = read(own, tmp_path / "made", skip_missing=True)
    assert sum(len(set(split.files)) for split in splits.values()) == 14
    assert NIHReader(skip_missing=True).published.keys() == {"train", "val"}
    assert NIHReader().published["test"].images == 25596


def _replace(name, old, new):
    def spoil(root):
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


TABLE, BOXES = "Data_Entry_2017.csv", "BBox_List_2017.csv"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_replace(TABLE, "No Finding", "Fever"), "2017.csv, line 5: 'Fever' is no finding"),
        (_replace(TABLE, "No Finding", "No Finding|Mass"), "2017.csv, line 5: .*is no answer"),
        (_replace(TABLE, "00000002_001", "00000002_000"), "2017.csv, line 5: .*is listed twice"),
        (_replace(TABLE, "Patient ID", "Person"), "2017.csv, line 1: has no column 'Patient ID'"),
        (_replace(TABLE, ",1,2,58,M,PA,2682,2749,0.143,0.143,", ""), "2017.csv, line 5: has 2 fi"),
        (_replace(TABLE, ",0,11,58", ",0,1,58"), "test_list.txt, line 1: .*of the patient 1, who"),
        (_replace(BOXES, "6.25", "x"), "BBox_List_2017.csv, line 2: the box 4.5,x,11.0,8.5 is not"),
        (_replace(BOXES, "Cardiomegaly", "Hernia"), "BBox_List_2017.csv, line 2: .*has no Hernia"),
        (_replace(BOXES, "Cardiomegaly", "Fever"), "BBox_List_2017.csv, line 2: 'Fever' is no fin"),
        (_replace(BOXES, "4.5,", "44.5,"), "BBox_List_2017.csv, line 2: the box .*lies outside"),
        (_replace(BOXES, "11.0", "-1"), "BBox_List_2017.csv, line 2: .*negative side"),
        (
            _replace("test_list.txt", "00000011_000", "1"),
            "test_list.txt, line 1: '1.png' is not in",
        ),
        (_replace("test_list.txt", "11_000", "01_000"), "test_list.txt, line 1: .*listed twice"),
        (lambda root: (root / "test_list.txt").unlink(), "test_list.txt: this list of images is"),
        (lambda root: (root / TABLE).unlink(), "not ChestX-ray14"),
    ],
)
def test_faults_are_named_by_file_and_line(root, tmp_path, spoil, told):
    own = shutil.copytree(root, tmp_path / "nih")
    spoil(own)
    with pytest.raises(DataError, match=told):
        read(own, tmp_path / "made")
    assert not (tmp_path / "made").exists()
