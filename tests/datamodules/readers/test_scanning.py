import os

import pytest

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules.readers.scanning import list_photos


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def names(listing):
    return [file.name for file in listing.images]


def test_folders_are_classes_and_files_in_any_case_and_depth_their_images(tmp_path):
    touch(tmp_path, "dog/1.JPG", "dog/old/2.Png", "cat/a.b.jpeg", "cat/c.tiff", "cat/old/d.webp")
    listing = list_photos(tmp_path)
    assert listing.class_names == ["cat", "dog"]
    assert names(listing) == [
        *("cat/a.b.jpeg", "cat/c.tiff", "cat/old/d.webp", "dog/1.JPG", "dog/old/2.Png"),
    ]
    assert listing.labels == [0, 0, 0, 1, 1]
    assert listing.splits == [""] * 5
    assert listing.remarks == []


def test_what_is_left_out_is_counted(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "loose.jpg", "cat/.hidden.jpg", ".git/2.jpg")
    touch(
        tmp_path, "cat/notes.txt", "__MACOSX/cat/3.jpg", "cat/raw.NEF", "cat/4.heic", "more/a.csv"
    )
    (tmp_path / "empty").mkdir()
    listing = list_photos(tmp_path)
    assert names(listing) == ["cat/1.jpg", "dog/1.jpg"]
    assert [file.name for file in listing.notes] == ["more/a.csv"]
    assert listing.remarks == [
        "images in no class folder: 1, such as loose.jpg.",
        "folders without images, no classes: empty.",
        "photographs that are not read, convert them to JPEG: 1 .heic, 1 .nef.",
        "passed over: 1 other and 3 hidden files or folders.",
    ]


@pytest.mark.parametrize(
    "spelled", [("train", "val", "test"), ("Training", "valid", "TEST"), ("train", "validation")]
)
def test_splits_are_known_by_their_usual_names(tmp_path, spelled):
    for folder in spelled:
        touch(tmp_path, f"{folder}/cat/1.jpg", f"{folder}/dog/1.jpg")
    touch(tmp_path, f"{spelled[0]}/cat/2.jpg", "extra/bird/1.jpg", "notes/x.xml")
    listing = list_photos(tmp_path)
    assert listing.class_names == ["cat", "dog"]
    assert sorted(set(listing.splits)) == sorted(["train", "val", "test"][: len(spelled)])
    assert listing.remarks == ["images in no class folder: 1, such as extra/bird/1.jpg."]


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    touch(tmp_path, "train/1.jpg", "car/1.jpg", "bus/1.jpg")
    assert list_photos(tmp_path).class_names == ["bus", "car", "train"]


def test_folders_of_masks_are_no_classes_if_their_files_have_the_names_of_images(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/2.jpg", "Masks/cat/1.png", "Masks/2_mask.png")
    listing = list_photos(tmp_path)
    assert listing.class_names == ["cat", "dog"]
    assert [file.name for file in listing.masks] == ["Masks/2_mask.png", "Masks/cat/1.png"]
    assert list_photos(tmp_path, find_masks=False).class_names == ["Masks", "cat", "dog"]
    touch(tmp_path / "shop", "hats/h1.jpg", "masks/m1.jpg", "masks/m2.jpg")
    assert list_photos(tmp_path / "shop").class_names == ["hats", "masks"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path / "disk", "1.jpg")
    touch(tmp_path / "photos", "dog/2.jpg")
    (tmp_path / "photos/cat").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/up").symlink_to(tmp_path / "photos")
    listing = list_photos(tmp_path / "photos")
    assert listing.class_names == ["cat", "dog"]
    assert "cat/1.jpg" in names(listing)
    assert len(listing.images) < 10


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"photos: holds no images in folders of classes"),
        (["1.jpg", "2.jpg"], r"photos: holds no images in folders of classes"),
        (["cat/1.jpg"], r"photos: cat is the only class, .* add a folder of other images\.$"),
        (["set/cat/1.jpg", "set/dog/1.jpg"], r"or set data\.root=.*photos/set\.$"),
        (["train/1.jpg", "val/2.jpg"], r"photos/train: holds images without class folders"),
        (["val/cat/1.jpg", "test/cat/1.jpg"], r"photos: has test but no folder of training"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"],
            r"photos: both val and valid are names of the split val",
        ),
        (
            ["train/cat/1.jpg", "train/dog/1.jpg", "val/Cat/1.jpg"],
            r"photos/val/Cat: Cat is no class of the training images \(is cat meant\?\)",
        ),
        (["cat/1.jpg", "dog/a\nb.jpg"], r"the name 'dog/a\\nb.jpg' begins or ends with a blank"),
        (["cat/1.jpg", " dog/b.jpg"], r"the name ' dog/b.jpg' begins or ends with a blank"),
        (["cat/1.jpg", os.fsdecode(b"dog/\xff.jpg")], r"bytes that are no text; rename it"),
    ],
)
def test_folders_that_are_no_data_set_are_refused_in_one_sentence(tmp_path, files, message):
    (tmp_path / "photos").mkdir()
    touch(tmp_path / "photos", *files)
    with pytest.raises(DataError, match=message):
        list_photos(tmp_path / "photos")


def test_classes_that_differ_in_case_alone_are_told(tmp_path):
    listing = list_photos(touch(tmp_path, "Cat/1.jpg", "cat/2.jpg", "dog/3.jpg"))
    assert listing.class_names == ["Cat", "cat", "dog"]
    assert listing.remarks == [
        "Cat and cat are two classes, whose names differ in case alone; if they are one, put their "
        "images into one folder."
    ]
