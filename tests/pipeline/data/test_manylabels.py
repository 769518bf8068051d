"""Sets with several classes per image: counts of each class, what is worth telling, and faults."""

import json

import numpy as np
import pytest

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.data import Severity, examine
from learned_saliency.pipeline.data.report import format_examination, write_reports
from tests.pipeline.data.test_faults import is_found, told
from tests.support.downloads import coco, labels, nih, voc
from tests.support.small_set import SmallSet

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
DOWNLOADS = {write.__name__: write for write in (coco, labels, nih, voc)}
# kinds of findings about all miniatures, which have few images, and some of each other's classes
USUAL = {"count", "option", "unlisted", "unsearched", "classless", "class-tied", "class-unused"}


def check(name, folder, spoil=None):
    root, words = DOWNLOADS[name](folder)
    if spoil is not None:
        spoil(root)
    place = [f"data.root={root}", f"data.metadata={folder}/made", f"output_dir={folder}/out"]
    words = [f"data={name}", *place, *words, "near_duplicates=false"]
    return examine(compose_checked(words, "doctor"), folder / "out")


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_whole_download_is_usable_and_its_classes_are_counted(tmp_path, name):
    examination = check(name, tmp_path)
    assert {finding.kind for finding in examination.findings} <= USUAL, told(examination)
    assert list(examination.counts) == ["train", "val", "test"]
    (tmp_path / "out").mkdir(exist_ok=True)
    write_reports(examination, tmp_path / "out")
    record = json.loads((tmp_path / "out/report.json").read_text())
    for split in ("val", "test"):
        own = record["class_counts"][split].values()
        assert sum(of_class["boxes"] for of_class in own) == record["counts"][split]["boxes"]
        assert sum(of_class["masks"] for of_class in own) == record["counts"][split]["masks"]
    if name == "coco":
        assert record["class_counts"]["train"]["1"] == {"images": 5, "boxes": 0, "masks": 0}
        assert "1 dog" in format_examination(examination)


def _replace(name, old, new):
    def spoil(root):
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def _cut_off(name):
    def spoil(root):
        path = root / name
        path.write_bytes(path.read_bytes()[:-60])

    return spoil


YEAR, INSTANCES = "VOCdevkit/VOC2012", "annotations/instances_val2017.json"


@pytest.mark.parametrize(
    ("name", "spoil", "kind", "place"),
    [
        ("voc", _cut_off(f"{YEAR}/JPEGImages/2008_train0001.jpg"), "image-damaged", "in0001.jpg"),
        ("voc", _cut_off(f"{YEAR}/Annotations/2008_val0001.xml"), "reader", "2008_val0001.xml"),
        ("voc", _cut_off(f"{YEAR}/SegmentationClass/2008_val0002.png"), "reader", "2008_val0002"),
        ("voc", lambda r: (r / YEAR / "ImageSets/Main/val.txt").unlink(), "download", "val.txt"),
        ("coco", _cut_off(INSTANCES), "reader", "instances_val2017.json, categories"),
        ("coco", _replace(INSTANCES, ': "0', ': "1'), "image-missing", "val2017/100000000139.jpg"),
        ("coco", _replace(INSTANCES, '"width": 40', '"width": 50'), "size", "image_sizes.txt"),
        ("nih", _replace("Data_Entry_2017.csv", "Mass", "Fever"), "reader", "Entry_2017.csv, line"),
        ("nih", _cut_off("images_001/images/00000011_000.png"), "reader", "00000011_000.png"),
        ("labels", _replace("labels.csv", "p03", "p99"), "reader", "labels.csv, line 5"),
        ("labels", _cut_off("room0/p00.jpg"), "reader", "room0/p00.jpg"),
    ],
)
def test_a_fault_of_a_download_is_named_by_its_file(tmp_path, name, spoil, kind, place):
    found = check(name, tmp_path, spoil).findings.of(ERROR)
    assert any(place in str(finding) for finding in found.get(kind, [])), found


@pytest.fixture
def several(tmp_path):
    """Make the small set one of several classes: all of class 0, odd images of 1, the last none."""
    small = SmallSet(tmp_path)
    for split, count in (("train", 6), ("val", 4), ("test", 4)):
        names = [f"{split}/{k}.jpg" for k in range(count)]
        lines = [f"{name},0" for name in names[:-1]]
        lines += [f"{name},1" for name in names[1:-1:2]]
        _write(small, split, "class_labels.txt", lines)
        if split != "train":
            boxes = [f"{name},10,20,60,70,0" for name in names[:-1]]
            _write(small, split, "localization.txt", [*boxes, f"{names[1]},1,2,30,40,1"])
    return small


def _write(small, split, file, lines):
    path = small.metadata / split / file
    path.write_text("".join(f"{line}\n" for line in lines))


def examined(small, *words):
    return small.examine("data.task=multilabel", *words)


def test_boxes_may_be_missing_and_images_without_a_class_are_told(several):
    examination = examined(several)
    kinds = sorted({finding.kind for finding in examination.findings})
    assert kinds == ["classless"], told(examination)
    assert is_found(examination, "classless", NOTE, "train/class_labels.txt", None, "1 of 6 images")
    assert examination.counts["val"].boxes == 4
    assert examination.class_counts["val"][1] == (1, 1, 0)


def test_a_class_that_is_never_alone_is_told(several):
    for number in range(10, 16):
        name = f"train/{number}.jpg"
        several.save(name, np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8))
        several.append("train/image_ids.txt", name)
        for label in (0, 1):
            several.append("train/class_labels.txt", f"{name},{label}")
    expected = ("class-tied", WARNING, "train/class_labels.txt", None)
    words = "class 1 (cup) never appears without class 0 (cat), in 8 images"
    examination = examined(several)
    assert is_found(examination, *expected, words), told(examination)
    assert not any("class 0 (cat) never" in finding.message for finding in examination.findings)


FAULTS = {
    "a label twice": (
        lambda s: s.append("val/class_labels.txt", "val/0.jpg,0"),
        ("metadata", ERROR, "val/class_labels.txt", 5, "val/0.jpg has label 0 twice"),
    ),
    "a negative label": (
        lambda s: s.append("train/class_labels.txt", "train/5.jpg,-1"),
        ("label", ERROR, "train/class_labels.txt", 8, "leave the line out"),
    ),
    "a label that is none": (
        lambda s: s.append("test/class_labels.txt", "test/3.jpg,2"),
        ("label", ERROR, "test/class_labels.txt", 5, "label 2 is out of range 0..1"),
    ),
    "no class at all": (
        lambda s: _write(s, "val", "class_labels.txt", []),
        ("metadata", ERROR, "val/class_labels.txt", None, "names no class"),
    ),
    "a box of another class": (
        lambda s: s.append("val/localization.txt", "val/0.jpg,1,1,5,5,1"),
        ("metadata", ERROR, "val/localization.txt", 5, "val/0.jpg has no label 1"),
    ),
    "a box without a class": (
        lambda s: s.append("val/localization.txt", "val/0.jpg,1,1,5,5"),
        ("metadata", ERROR, "val/localization.txt", 5, "5 field(s) instead of 6"),
    ),
    "an inverted box": (
        lambda s: s.append("val/localization.txt", "val/0.jpg,9,1,5,5,0"),
        ("box", ERROR, "val/localization.txt", 5, "9,1,5,5 of val/0.jpg is inverted"),
    ),
    "a mask that is missing": (
        lambda s: _write(s, "val", "masks.txt", ["val/0.jpg,a.png,,0"]),
        ("mask-missing", ERROR, "masks/a.png", None, "val/masks.txt, line 1"),
    ),
    "a mask of another class": (
        lambda s: _write(s, "val", "masks.txt", ["val/0.jpg,a.png,,1"]),
        ("metadata", ERROR, "val/masks.txt", 1, "val/0.jpg has no label 1"),
    ),
    "a mask without paths": (
        lambda s: _write(s, "val", "masks.txt", ["val/0.jpg,,,0"]),
        ("metadata", ERROR, "val/masks.txt", 1, "the mask's path is empty"),
    ),
    "a mask without a label": (
        lambda s: _write(s, "val", "masks.txt", ["val/0.jpg,a.png,b.png,cat"]),
        ("metadata", ERROR, "val/masks.txt", 1, "'cat' is no label"),
    ),
    "copies with other classes": (
        lambda s: (s.root / "train/1.jpg").write_bytes((s.root / "train/0.jpg").read_bytes()),
        ("copy-label", WARNING, "train/0.jpg", None, "train/1.jpg (train, classes 0, 1)"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_file_and_line(several, fault):
    spoil, expected = FAULTS[fault]
    spoil(several)
    examination = examined(several, "near_duplicates=false")
    assert is_found(examination, *expected), told(examination)


def test_an_ignore_mask_alone_and_an_empty_mask_are_told_apart(several):
    several.save_mask("ignore.png", slice(0, 9))
    several.save_mask("empty.png", slice(0, 0))
    several.save_mask("full.png", slice(2, 9))
    lines = ["val/0.jpg,,ignore.png,0", "val/1.jpg,empty.png,,1", "val/1.jpg,full.png,,0"]
    _write(several, "val", "masks.txt", lines)
    examination = examined(several)
    assert [f.kind for f in examination.findings if f.severity != NOTE] == ["mask-empty"]
    assert is_found(examination, "mask-empty", WARNING, "empty.png", None, "marks no pixel")
    assert examination.class_counts["val"][0] == (3, 3, 1)
