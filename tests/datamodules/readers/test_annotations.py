"""Boxes of annotation files beside photographs, through the folder's reader."""

import json

import pytest

from learned_saliency.datamodules import DataError, FolderReader
from learned_saliency.datamodules.metadata import read_split
from learned_saliency.datamodules.readers.imagenames import ImageNames
from tests.support.photos import fill, save

HEADER = "image,xmin,ymin,xmax,ymax,label"
VOC = (
    "<annotation><filename>other.jpg</filename><object><name>{}</name><bndbox><xmin>{}</xmin>"
    "<ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def root(tmp_path):
    """A folder of two classes with six photographs of 48x36 pixels each."""
    return fill(tmp_path / "photos", cat=6, dog=6)


def images():
    return [f"{name}/{name}_{i}.jpg" for name in ("cat", "dog") for i in range(6)]


def prepared(root, **options):
    folder = root.parent / "metadata"
    FolderReader(**{"val_fraction": 0.3, "test_fraction": 0.3, **options}).prepare(root, folder)
    there = [split for split in ("train", "val", "test") if (folder / split).is_dir()]
    return {split: read_split(folder / split, localization=split != "train") for split in there}


def boxes_of(splits):
    """Boxes of val and test by image."""
    found = {}
    for split in ("val", "test"):
        own = splits[split]
        for row, box in zip(own.box_images, own.boxes.tolist(), strict=True):
            found.setdefault(own.image_ids[row], []).append(box)
    return found


def remarks(root):
    return json.loads((root.parent / "metadata/splits.json").read_text())["remarks"]


def write_csv(root, names, *, box="1.9,2.2,20.7,30.1", file="boxes.csv"):
    rows = [f"{name},{box},{name.split('/')[0]}" for name in names]
    (root / file).write_text("\n".join([HEADER, *rows, ""]))


def write_coco(root, names, file="instances.json"):
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"image_id": i, "bbox": [1.9, 2.2, 18.8, 27.9], "category_id": 1}
            for i in range(len(names))
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(json.dumps(content))


def write_voc(root, names, folder="{0}", label="thing"):
    for name in names:
        path = root / folder.format(name.split("/")[0]) / f"{name.split('/')[1][:-4]}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(VOC.format(label, 1.9, 2.2, 20.7, 30.1))


@pytest.mark.parametrize(
    "write",
    [
        write_csv,
        lambda root, names: write_csv(root, [f"C:\\shots\\{name}" for name in names]),
        lambda root, names: write_csv(root / "cat", names),
        write_coco,
        lambda root, names: write_coco(
            root, [n.split("/")[1] for n in names], "annotations/a.json"
        ),
        write_voc,
        lambda root, names: write_voc(root, names, "Annotations"),
        lambda root, names: write_voc(root, names, "cat"),
    ],
)
def test_boxes_beside_the_images_are_found_and_truncated(root, write):
    write(root, images())
    splits = prepared(root)
    assert boxes_of(splits).values()
    assert all(boxes == [[1, 2, 20, 30]] for boxes in boxes_of(splits).values())
    assert len(boxes_of(splits)) == 8
    assert not (root.parent / "metadata/train/localization.txt").exists()


def test_boxes_end_at_the_last_pixel(root):
    write_csv(root, images(), box="-0.5,0,48,36.5")
    assert all(boxes == [[0, 0, 47, 35]] for boxes in boxes_of(prepared(root)).values())


def test_files_may_be_named_or_left_out(root, tmp_path):
    write_csv(root, images())
    write_voc(root, images())
    with pytest.raises(
        DataError, match=r"boxes in CSV files \(boxes.csv\) and VOC files \(cat/cat_0"
    ):
        prepared(root)
    assert len(boxes_of(prepared(root, boxes="boxes.csv"))) == 8
    assert len(boxes_of(prepared(root, boxes="dog"))) == 4
    assert prepared(root, boxes="none")["val"].boxes is None
    assert prepared(root, boxes=None)["val"].boxes is None
    write_coco(tmp_path, images(), "elsewhere.json")
    assert len(boxes_of(prepared(root, boxes=str(tmp_path / "elsewhere.json")))) == 8
    (root / "plain.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"plain.csv: has no boxes that are known"):
        prepared(root, boxes="plain.csv")


def test_images_with_boxes_are_drawn_for_evaluation(root):
    marked = ["cat/cat_1.jpg", "cat/cat_4.jpg", "dog/dog_0.jpg", "dog/dog_5.jpg"]
    write_csv(root, marked)
    splits = prepared(root)
    assert sorted(boxes_of(splits)) == marked
    assert len(splits["train"]) == 8
    write_csv(root, marked[:2])
    splits = prepared(root)
    assert sorted(boxes_of(splits)) == marked[:2]
    assert "classes without boxes, all for training: dog." in remarks(root)


def test_a_split_that_was_drawn_before_there_were_boxes_is_told(root):
    before = set(prepared(root)["val"].image_ids)
    write_csv(root, [name for name in images() if name not in before])
    assert prepared(root)["val"].boxes is None
    told = "val was drawn before there were boxes and has none of them; another data.reader.seed"
    assert f"{told} draws it anew." in remarks(root)
    write_csv(root, images())
    assert boxes_of(prepared(root)).keys() >= before
    assert not any("drawn before" in remark for remark in remarks(root))


def test_images_without_boxes_are_left_out_of_a_given_split(root):
    for name in ("cat", "dog"):
        (root / "train").mkdir(exist_ok=True)
        (root / name).rename(root / "train" / name)
        for i in range(3):
            save(root / f"val/{name}/{name}_{i}.jpg", 5000 + 7 * i + len(name) * (name == "cat"))
    write_csv(root, ["val/cat/cat_0.jpg", "val/dog/dog_2.jpg", "train/cat/cat_1.jpg"])
    splits = prepared(root, test_fraction=0.0)
    assert splits["val"].image_ids == ["val/cat/cat_0.jpg", "val/dog/dog_2.jpg"]
    assert len(splits["train"]) == 12
    assert (
        "4 of 6 images of val have no box, such as val/cat/cat_1.jpg: left out of it."
        in remarks(root)
    )


def test_boxes_of_other_objects_are_left_out_where_labels_are_classes(root):
    rows = [f"{name},1,1,9,9,{label}" for name in images() for label in ("CAT", "dog", "tree")]
    (root / "boxes.csv").write_text("\n".join([HEADER, *rows]))
    assert all(len(boxes) == 1 for boxes in boxes_of(prepared(root)).values())
    assert "boxes of other objects than the image's class, left out: 24." in remarks(root)
    rows = [f"{name},1,1,9,9,{label}" for name in images() for label in ("bush", "tree")]
    (root / "boxes.csv").write_text("\n".join([HEADER, *rows]))
    assert all(len(boxes) == 2 for boxes in boxes_of(prepared(root)).values())


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.csv", f"{HEADER}\ncat/cat_0.jpg,9,2,3,4,cat", r"a.csv, line 2: the box 9,2,3,4 is inv"),
        (
            "a.csv",
            f"{HEADER}\ncat/gone.jpg,1,2,3,4,cat",
            r"a.csv, line 2: there is no image 'cat/g",
        ),
        ("a.csv", f"{HEADER}\nsame.jpg,1,2,3,4,cat", r"a.csv, line 2: 'same.jpg' may be cat/same"),
        ("cat/cat_0.xml", "<annotation><object>", r"cat_0.xml: the annotation is no XML"),
        (
            "cat/cat_0.xml",
            '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation>&e;</annotation>',
            r"cat_0.xml: the annotation is unusable: it declares the document type",
        ),
        ("cat/cat_0.xml", VOC.format("cat", 9, 2, 3, 4), r"cat_0.xml: .* the box 9,2,3,4 is inv"),
        ("cat/cat_0.xml", VOC.format("cat", 1, 2, 3, ""), r"cat_0.xml: .* is not four numbers"),
        ("b.json", '{"images": [', r"b.json: is no readable JSON"),
    ],
)
def test_faults_are_named_by_file(root, file, text, message):
    save(root / "cat/same.jpg", 9001)
    save(root / "dog/same.jpg", 9002)
    (root / file).write_text(text)
    with pytest.raises(DataError, match=message):
        prepared(root)
    assert not (root.parent / "metadata").exists()


def test_boxes_beyond_their_image_are_named(root):
    write_csv(root, images(), box="1,2,50,9")
    with pytest.raises(
        DataError, match=r"line \d+: the box 1,2,50,9 reaches out of .* of 48x36 pix"
    ):
        prepared(root)


def test_annotations_of_no_image_are_counted(root):
    write_voc(root, [*images(), "cat/gone.jpg"])
    prepared(root)
    assert "XML files of no image: 1, such as cat/gone.xml." in remarks(root)


def test_other_tables_and_documents_are_passed_over_and_told(root):
    (root / "labels.csv").write_text("file,breed\ncat/cat_0.jpg,tabby\n")
    (root / "settings.json").write_text('{"zoom": 3}')
    (root / "page.xml").write_text("<html><br></html>")
    splits = prepared(root)
    assert splits["val"].boxes is None
    assert remarks(root) == [
        "XML files of no image: 1, such as page.xml.",
        "CSV and JSON files without boxes that are known: 2, such as labels.csv; for boxes a table "
        "has a header such as image,xmin,ymin,xmax,ymax.",
    ]


@pytest.mark.parametrize(
    ("file", "text", "remark"),
    [
        ("boxes.csv", "picture,a,b,c,d\ncat/cat_0.jpg,1,2,20,30\n", "boxes that are known: 1"),
        ("boxes.csv", "cat/cat_0.jpg,1,2,20,30\n", "boxes that are known: 1, such as boxes.csv"),
        ("notes.json", "{}", "boxes that are known: 1, such as notes.json"),
        ("cat_77.xml", VOC.format("cat", 1, 2, 20, 30), "XML files of no image: 1"),
    ],
)
def test_files_that_give_no_boxes_are_told(root, file, text, remark):
    (root / file).write_text(text)
    assert prepared(root)["val"].boxes is None
    assert any(remark in told for told in remarks(root))


def test_names_are_found_by_their_longest_end():
    names = ImageNames(["train/cat/1.jpg", "val/cat/1.jpg", "val/dog/1.jpg", "val/dog/b.c.png"])
    assert names.find("val/cat/1.jpg", "") == ["val/cat/1.jpg"]
    assert names.find("/home/x/val/dog/1.jpg", "") == ["val/dog/1.jpg"]
    assert names.find("dog/1", "") == ["val/dog/1.jpg"]
    assert names.find("1.jpg", "val/dog") == ["val/dog/1.jpg"]
    assert names.find("1.jpg", "train/Annotations") == ["train/cat/1.jpg"]
    assert len(names.find("1.jpg", "")) == 3
    assert names.find("b.c", "") == ["val/dog/b.c.png"]
    assert names.find("2.jpg", "") == names.find("", "") == names.find("dog/", "") == []
