"""Each fault that is planted in a faultless data set is found and named by its file."""

import warnings

import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import DataError, WSOLDataModule
from tests.pipeline.data.faults import BOXES, ERROR, MASKS, WARNING, copy
from tests.support.small_set import photograph


def is_found(examination, kind, severity, place, line, words):
    return any(
        (finding.kind, finding.severity, finding.line) == (kind, severity, line)
        and finding.place.endswith(place)
        and words in finding.message
        for finding in examination.findings
    )


def told(examination):
    return [f"{finding.kind} {finding.severity.word} {finding}" for finding in examination.findings]


def training_refuses(small):
    """Tell whether a training on the set ends before it begins."""
    data = WSOLDataModule(small.root, small.metadata, mask_root=small.masks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data.setup("fit")
        except DataError:
            return True
    return False


@pytest.mark.parametrize("fault", BOXES)
def test_a_fault_of_a_set_with_boxes_is_found(small_set, fault):
    plant, expected = BOXES[fault]
    plant(small_set)
    examination = small_set.examine()
    assert is_found(examination, *expected), told(examination)
    if expected[1] != ERROR:
        assert not examination.findings.count(ERROR), told(examination)
    assert training_refuses(small_set) <= bool(examination.findings.count(ERROR))


@pytest.mark.parametrize("fault", MASKS)
def test_a_fault_of_a_set_with_masks_is_found(masked_set, fault):
    plant, expected = MASKS[fault]
    plant(masked_set)
    examination = masked_set.examine()
    assert is_found(examination, *expected), told(examination)
    if expected[1] != ERROR:
        assert not examination.findings.count(ERROR), told(examination)
    assert training_refuses(masked_set) <= bool(examination.findings.count(ERROR))


def test_a_faultless_set_with_boxes_has_no_finding(small_set):
    assert told(small_set.examine()) == []


def test_unknown_labels_are_no_fault(small_set):
    for split in ("train", "val", "test"):
        names = (small_set.metadata / split / "image_ids.txt").read_text().split()
        lines = "".join(f"{name},-1\n" for name in names)
        (small_set.metadata / split / "class_labels.txt").write_text(lines)
    examination = small_set.examine()
    assert told(examination) == []
    assert not training_refuses(small_set)


def test_a_faultless_set_with_masks_has_no_finding(masked_set):
    assert told(masked_set.examine()) == []


def test_all_faults_are_found_and_not_the_first_alone(small_set):
    names = (
        "an image is empty",
        "a box is negative",
        "a label is missing",
        "a name is given twice",
    )
    for name in names:
        BOXES[name][0](small_set)
    for number in (1, 2, 4):
        small_set.replace("val/localization.txt", number, f"val/{number - 1}.jpg,9,9,3,3")
    (small_set.root / "train/1.jpg").unlink()
    (small_set.root / "train/2.jpg").unlink()
    examination = small_set.examine()
    for name in names:
        assert is_found(examination, *BOXES[name][1]), name
    inverted = [f.line for f in examination.findings if "is inverted" in f.message]
    assert inverted == [1, 2, 4]
    assert len(examination.findings.of(ERROR)["image-missing"]) == 2


def test_few_copies_between_large_splits_are_a_warning_alone(small_set):
    """One of 200 images moves a figure by half a percent at most."""
    for number in range(4, 200):
        name = f"test/{number}.jpg"
        small_set.save(name, photograph(1000 + number, 60, 45))
        small_set.append("test/image_ids.txt", name)
        small_set.append("test/class_labels.txt", f"{name},0")
        small_set.append("test/image_sizes.txt", f"{name},60,45")
        small_set.append("test/localization.txt", f"{name},1,2,30,40")
    copy(small_set, "train/1.jpg", "test/1.jpg")
    expected = ("split-overlap", WARNING, "train/1.jpg", None, "test/1.jpg")
    assert is_found(small_set.examine(), *expected)
    copy(small_set, "train/3.jpg", "test/3.jpg")
    expected = ("split-overlap", ERROR, "train/3.jpg", None, "test/3.jpg")
    assert is_found(small_set.examine(), *expected)


def test_images_of_the_same_size_and_ends_are_no_copies(small_set):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    for name, middle in (("train/0.jpg", 0), ("train/2.jpg", 255)):
        pixels[100] = middle
        Image.fromarray(pixels).save(small_set.root / name, "BMP")
    assert not [f for f in small_set.examine().findings if f.kind == "copy"]


def test_damage_in_the_middle_is_found_where_all_is_decoded(small_set):
    small_set.save("train/0.png", photograph(40))
    path = small_set.root / "train/0.png"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 99] = bytes(99)
    path.write_bytes(content)
    small_set.replace("train/image_ids.txt", 1, "train/0.png")
    small_set.replace("train/class_labels.txt", 1, "train/0.png,0")
    plain = small_set.examine("near_duplicates=false")
    assert not plain.findings.count(ERROR)
    deep = small_set.examine("near_duplicates=false", "full_decode=true")
    assert is_found(deep, "image-damaged", ERROR, "train/0.png", None, "; replace it.")
