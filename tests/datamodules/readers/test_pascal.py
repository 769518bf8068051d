"""PASCAL VOC: counted from 1, difficult objects, masks of two images, and faults by their files."""

import shutil

import cv2
import numpy as np
import pytest

from learned_saliency.datamodules import DataError, VOCReader, read_multilabel_split
from learned_saliency.datamodules.masks import read_values
from tests.support.manylabel_layouts import SPANS, voc

CAT, DOG, PERSON = 7, 11, 14


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return voc(tmp_path_factory.mktemp("voc"))


def read(root, folder, split, **options):
    VOCReader(**{"val_fraction": 1.0} | options).prepare(root, folder)
    return read_multilabel_split(folder / split, localization=split != "train")


def of_images(split):
    """Boxes by the number of the image and the class."""
    found = {}
    for k, (file, label) in enumerate(zip(split.files, split.labels.tolist(), strict=True)):
        boxes = split.boxes[split.box_images == k].tolist()
        found[int(file[-8:-4]), label] = boxes
    return found


def test_difficult_objects_are_left_out_and_boxes_count_from_zero(kit, tmp_path):
    boxes = of_images(read(kit, tmp_path / "made", "val"))
    dog, cat, person = ([first - 1, 5, last - 1, 24] for first, last in SPANS.values())
    assert boxes[0, DOG] == [dog]
    assert boxes[0, PERSON] == [person]  # 31.70000076 to 40, of a width of 40
    assert boxes[1, CAT] == [cat]
    assert (2, CAT) not in boxes
    assert boxes[4, -1] == []
    assert len(boxes) == 9 + 5 + 4 + 1  # dogs, cats, persons, an image with none


def test_difficult_objects_can_be_kept(kit, tmp_path):
    boxes = of_images(read(kit, tmp_path / "made", "val", keep_difficult=True))
    assert boxes[2, CAT] == [[16, 5, 27, 24]]
    assert boxes[4, PERSON] == [[30, 5, 39, 24]]


def test_training_images_have_labels_alone(kit, tmp_path):
    split = read(kit, tmp_path / "made", "train")
    assert len(split) == 6
    assert split.files[0] == "VOCdevkit/VOC2012/JPEGImages/2008_train0000.jpg"
    assert np.flatnonzero(split.presence[3]).tolist() == [CAT, DOG, PERSON]
    assert not split.presence[4].any()
    assert sorted(path.name for path in (tmp_path / "made" / "train").iterdir()) == [
        "class_labels.txt",
        "image_ids.txt",
    ]


def test_a_mask_has_the_pixels_of_its_class_and_ignores_void_and_difficult_ones(kit, tmp_path):
    split = read(kit, tmp_path / "made", "val", keep_difficult=False)
    masks = {
        (int(file[-8:-4]), label): paths
        for file, label, paths in zip(
            split.files, split.labels.tolist(), split.mask_paths, strict=True
        )
        if paths
    }
    assert sorted(masks) == [(0, DOG), (0, PERSON), (2, DOG), (6, DOG), (6, PERSON), (8, DOG)]
    expected = np.zeros((30, 40), np.uint8)
    expected[5:25, 2:14] = 255
    expected[5:25, 14] = 128  # void behind the dog
    found = read_values(tmp_path / "made" / masks[8, DOG][0])
    np.testing.assert_array_equal(found, expected)
    expected[5:25, 28] = 128  # void behind the cat
    np.testing.assert_array_equal(read_values(tmp_path / "made" / masks[2, DOG][0]), expected)


def test_pixels_of_a_difficult_object_beside_another_one_are_ignored(kit, tmp_path):
    root = shutil.copytree(kit, tmp_path / "kit")
    path = root / "VOCdevkit/VOC2012/Annotations/2008_val0002.xml"
    path.write_text(path.read_text().replace("<name>cat</name>", "<name>dog</name>"))
    classes = root / "VOCdevkit/VOC2012/SegmentationClass/2008_val0002.png"
    values = read_values(classes)
    cv2.imwrite(str(classes), np.where(values == CAT + 1, DOG + 1, values))
    split = read(root, tmp_path / "made", "val")
    place = split.image_ids.index("VOCdevkit/VOC2012/JPEGImages/2008_val0002#11.jpg")
    found = read_values(tmp_path / "made" / split.mask_paths[place][0])
    assert set(np.unique(found[5:25, 2:14])) == {255}
    assert set(np.unique(found[5:25, 16:28])) == {128}
    assert split.boxes[split.box_images == place].tolist() == [[2, 5, 13, 24]]


def test_a_share_of_the_val_list_is_val_and_the_rest_test(kit, tmp_path):
    reader = {"val_fraction": 0.3, "seed": 5}
    val = read(kit, tmp_path / "made", "val", **reader)
    test = read(kit, tmp_path / "made", "test", **reader)
    files = set(val.files), set(test.files)
    assert not files[0] & files[1]
    assert [len(found) for found in files] == [3, 7]
    assert VOCReader().published["val"].images == 1165
    assert VOCReader().published["test"].images == 5823 - 1165


def test_lists_of_a_year_are_named_and_counted():
    lists = [["VOC2007/Main/train"], ["VOC2007/Main/val"], ["VOC2007/Main/test"]]
    names = dict(zip(("train_lists", "val_lists", "test_lists"), lists, strict=True))
    found = VOCReader(**names, val_fraction=1).published
    counts = {split: counts.images for split, counts in found.items()}
    assert counts == {"train": 2501, "val": 2510, "test": 4952}
    places = [source.path for source in VOCReader(**names).sources]
    assert "VOCdevkit/VOC2007/ImageSets/Main/test.txt" in places
    assert not any("2012" in place for place in places)


def _spoil(name, old, new):
    def spoil(year):
        path = year / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def _grow(year):
    cv2.imwrite(str(year / "SegmentationObject/2008_val0000.png"), np.zeros((9, 9), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_spoil("ImageSets/Main/val.txt", "0003", "0099"), r"2008_val0099.xml: this annotation is"),
        (_spoil("ImageSets/Main/val.txt", "val0003", "train0003"), r"val.txt, line 4: .*is in VOC"),
        (_spoil("ImageSets/Main/train.txt", "2008", "a/"), r"train.txt, line 1: .*is no name of"),
        (_spoil("Annotations/2008_val0003.xml", "dog", "fox"), r"val0003.xml: 'fox' is no class"),
        (_spoil("Annotations/2008_val0003.xml", ">0</d", ">2</d"), "val0003.xml.*difficult is '2'"),
        (
            _spoil("Annotations/2008_val0003.xml", ">14<", ">x<"),
            "val0003.xml.*3,6,x,25 is not four",
        ),
        (
            _spoil("Annotations/2008_val0003.xml", ">3<", ">99<"),
            "val0003.xml.*99,6,14,25 is invert",
        ),
        (
            lambda year: (year / "ImageSets/Main/val.txt").write_text(" \n"),
            "val.txt: lists no imag",
        ),
        (
            lambda year: (year / "ImageSets/Main/val.txt").unlink(),
            "val.txt: this list of images is",
        ),
        (
            lambda year: (year / "JPEGImages/2008_val0001.jpg").unlink(),
            "val0001.jpg: the image cann",
        ),
        (lambda year: (year / "SegmentationClass/2008_val0002.png").unlink(), "Class/2008_val0002"),
        (_grow, "SegmentationObject/2008_val0000.png: has 9x9 pixels, its image 40x30"),
    ],
)
def test_faults_are_named_by_their_file(kit, tmp_path, spoil, told):
    root = shutil.copytree(kit, tmp_path / "kit")
    spoil(root / "VOCdevkit" / "VOC2012")
    with pytest.raises(DataError, match=told):
        read(root, tmp_path / "made", "val")
    assert not (tmp_path / "made").exists()
