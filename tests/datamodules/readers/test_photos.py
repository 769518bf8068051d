import json
import logging
import os
import re

import pytest

from learned_saliency.datamodules import UNKNOWN, DataError, PhotosReader, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support.photos import fill, photo, save


@pytest.fixture
def photos(tmp_path):
    """Twenty photographs of 48x36 pixels in folders whose names mean nothing."""
    root = tmp_path / "photos"
    for number in range(20):
        save(root / ("spring", "autumn")[number // 10] / f"{number % 10}.png", number)
    return root


def prepared(root, **options):
    """Names of the images by split; metadata lies beside the root."""
    folder = root.parent / "metadata"
    PhotosReader(**options).prepare(root, folder)
    there = [split for split in ("train", "val", "test") if (folder / split).is_dir()]
    return {split: read_split(folder / split, localization=True).image_ids for split in there}


def report(root):
    return json.loads((root.parent / "metadata" / "splits.json").read_text())


def test_any_folder_becomes_a_data_set_without_labels(photos, caplog):
    caplog.set_level(logging.INFO)
    save(photos / "lying.jpg", 50, size=(40, 20), exif=turned(6))
    reader = PhotosReader(val_fraction=0.2, test_fraction=0.3)
    data = WSOLDataModule(
        photos, photos.parent / "metadata", reader=reader, resize_size=16, crop_size=16
    )
    data.prepare_data()
    data.setup()
    counts = {split: data.supervision(split)["images"] for split in ("train", "val", "test")}
    assert counts == {"train": 11, "val": 4, "test": 6}
    assert data.num_labeled("val") == 0
    assert not data.has_boxes("val")
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [UNKNOWN] * 4
    assert not (photos.parent / "metadata" / "class_names.txt").exists()
    assert "val and test drawn with seed 0" in caplog.text


def turned(orientation):
    exif = photo(0).getexif()
    exif[274] = orientation
    return exif


def test_copies_stay_together_and_a_draw_stays_where_images_are_added(photos):
    for number in range(8):
        (photos / f"copy{number}.png").write_bytes((photos / "spring/0.png").read_bytes())
    first = prepared(photos)
    (split,) = [name for name, ids in first.items() if "spring/0.png" in ids]
    assert {f"copy{number}.png" for number in range(8)} <= set(first[split])
    save(photos / "winter.png", 90)
    again = prepared(photos)
    assert sum(map(len, again.values())) == 29
    assert all(set(ids) <= set(again[split]) for split, ids in first.items())
    assert prepared(photos, seed=1) != again


def test_all_photographs_can_be_the_test(photos):
    assert {split: len(ids) for split, ids in prepared(photos, **ALL).items()} == {"test": 20}


ALL = {"val_fraction": 0, "test_fraction": 1}


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ("spring", 10),
        ("*/1.png", 2),
        (["**/[12].png", "autumn/5.png"], 5),
        ("odd[1].png", 1),  # a file that looks like a pattern
    ],
)
def test_patterns_choose_photographs(photos, files, count):
    save(photos / "odd[1].png", 70)
    names = prepared(photos, files=files, **ALL)["test"]
    assert len(names) == count, names


def test_splits_that_were_fixed_beforehand_are_kept(photos, tmp_path, caplog):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("spring/0.png\n./autumn/1.png\n\n")
    (lists / "test.txt").write_text(f"{photos}/autumn/0.png\n")
    found = prepared(photos, splits=lists)
    assert found == {"train": ["autumn/1.png", "spring/0.png"], "test": ["autumn/0.png"]}
    assert "images in no list, left out: 17, such as" in caplog.text
    (lists / "test.txt").write_text("autumn/2.png\n")  # which makes the metadata anew
    assert prepared(photos, splits=lists)["test"] == ["autumn/2.png"]


def test_one_file_may_list_all_splits(photos):
    (photos / "splits.csv").write_text("spring/0.png,test\nspring/1.png,val\na,b.png,train\n")
    save(photos / "a,b.png", 60)
    wanted = {"train": ["a,b.png"], "val": ["spring/1.png"], "test": ["spring/0.png"]}
    assert prepared(photos, splits="splits.csv") == wanted


def test_copies_in_two_given_splits_are_told(photos, caplog):
    (photos / "twin.png").write_bytes((photos / "spring/0.png").read_bytes())
    (photos / "splits.csv").write_text("spring/0.png,train\ntwin.png,test\n")
    prepared(photos, splits="splits.csv")
    assert "images of test that are also in train: 1 copies" in caplog.text


def lists(text, name="splits.csv"):
    def write(root):
        (root / name).write_text(text)
        return {"splits": name}

    return write


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lists("spring/0.png,tets\n"), r"splits.csv, line 1: 'tets' is no split; write train, val"),
        (lists("\nspring/99.png,test\n"), "splits.csv, line 2: 'spring/99.png' is no image below"),
        (lists("spring/1.png,val\nspring/1.png,val\n"), r"line 2: 'spring/1.png' is listed above"),
        (lists("../x.png,test\n"), "'../x.png' is no image below the root"),
        (lists(""), "splits.csv: lists no file"),
        (lists("spring/0.png\n"), r"splits.csv, line 1: .*instead of 2"),
        (lambda root: {"splits": "nowhere"}, "nowhere: is no file or folder"),
        (lambda root: {"splits": "spring"}, "spring: lists no file; write them into train.txt"),
        (lambda root: {"files": "summer/*"}, "files=summer/[*]: matches no image"),
        (lambda root: {"files": "../*.png"}, "files=../[*].png: leads out of"),
        (lambda root: {"group": "("}, "is no regular expression"),
    ],
)
def test_faults_are_told_in_one_sentence(photos, make, told):
    with pytest.raises(DataError, match=told) as caught:
        prepared(photos, **make(photos))
    assert "\n" not in str(caught.value)
    assert not (photos.parent / "metadata").exists()


def test_a_folder_without_enough_images_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no images"):
        prepared(tmp_path / "empty")
    few = fill(tmp_path / "few", a=2)
    with pytest.raises(DataError, match=r"too few images.* to make .*data.reader.splits=FOLDER"):
        prepared(few)
    with pytest.raises(DataError, match="the folder of photographs is missing"):
        prepared(tmp_path / "nowhere")


def test_broken_files_are_an_error_or_left_out(photos, caplog):
    (photos / "spring" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"spring/3.png: cannot be read .*skip_broken=true"):
        prepared(photos)
    assert sum(map(len, prepared(photos, skip_broken=True).values())) == 19
    assert "left out: 1, such as" in caplog.text


def test_names_that_cannot_be_listed_are_told(photos):
    os.rename(photos / "spring" / "3.png", photos / "spring" / "3\n.png")
    with pytest.raises(DataError, match=re.escape("rename it")):
        prepared(photos)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (-0.1, 0.2), (0.1, 1)])
def test_fractions_leave_images_for_training(fractions):
    with pytest.raises(ValueError, match="together below 1"):
        PhotosReader(val_fraction=fractions[0], test_fraction=fractions[1])
