"""Annotation files of photographs: objects, names, turned images, several processes."""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from learned_saliency import load
from learned_saliency.pipeline.cli.errors import UserError
from learned_saliency.pipeline.prediction.index import Part, remove_parts
from learned_saliency.pipeline.prediction.labelling import Labels, kind_of, with_stems
from learned_saliency.pipeline.prediction.labels.base import LabelledObject
from learned_saliency.pipeline.prediction.reading import ReadImage
from learned_saliency.pipeline.prediction.sources import Found

ALL = "labels=[coco,cvat,labelstudio,png,voc,yolo]"


def test_all_formats_hold_the_object_of_the_index(fcam_run, photos, predicted):
    from pycocotools.coco import COCO

    folder, names = photos
    index, out, lines = predicted(f"checkpoint={fcam_run}", f"images={folder}", ALL)
    read = COCO(str(out / "labels" / "coco" / "instances.json"))
    assert [row["file_name"] for row in read.imgs.values()] == names
    model = load(fcam_run, device="cpu")
    assert [category["name"] for category in read.cats.values()] == model.class_names
    for record, row in zip(index["images"], read.imgs.values(), strict=True):
        annotations = read.loadAnns(read.getAnnIds(imgIds=row["id"]))
        (written,) = record["maps"]
        assert len(annotations) == (written["box"] is not None)
        stem = {"a.png": "a.png"}.get(record["image"], record["image"].rpartition(".")[0])
        mask = np.asarray(Image.open(out / f"labels/png/masks/{stem}.png"))
        assert mask.shape == (record["height"], record["width"])
        for annotation in annotations:
            x, y, width, height = annotation["bbox"]
            distance = np.array([x, y, x + width - 1, y + height - 1]) - written["box"]
            assert np.abs(distance).max() <= 1
            assert annotation["category_id"] == record["predicted"][0]["index"] + 1
            np.testing.assert_array_equal(mask > 0, read.annToMask(annotation))
        tree = ElementTree.parse(out / f"labels/voc/Annotations/{stem}.xml")
        assert len(tree.findall("object")) == len(annotations)
        text = (out / f"labels/yolo/labels/{stem}.txt").read_text()
        assert len(text.splitlines()) == len(annotations)
    tree = ElementTree.parse(out / "labels/cvat/annotations.xml")
    assert [node.get("name") for node in tree.findall("image")] == names
    assert len(json.loads((out / "labels/labelstudio/tasks.json").read_text())) == len(names)
    assert any("a.png has the name of another image" in line for line in lines)
    assert not list(out.rglob("*.part-*"))


@pytest.mark.parametrize("turned", [True, False])
def test_boxes_lie_in_the_image_as_it_was_turned(fcam_run, tmp_path, predicted, turned):
    pixels = np.random.default_rng(1).integers(0, 256, (30, 50, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right makes it upright
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png", exif=exif)
    words = [f"images={tmp_path}/in", "labels=coco", f"exif_orientation={str(turned).lower()}"]
    _, out, _ = predicted(f"checkpoint={fcam_run}", *words)
    read = json.loads((out / "labels" / "coco" / "instances.json").read_text())
    (image,) = read["images"]
    assert (image["width"], image["height"]) == ((30, 50) if turned else (50, 30))
    for annotation in read["annotations"]:
        assert annotation["segmentation"]["size"] == [image["height"], image["width"]]
        assert annotation["bbox"][0] + annotation["bbox"][2] <= image["width"]


def test_each_class_that_is_explained_has_an_object(cam, photos, predicted):
    words = [f"checkpoint={cam}", f"images={photos[0]}/a.jpg", "labels=coco", "classes=[3,5]"]
    index, out, _ = predicted(*words)
    read = json.loads((out / "labels" / "coco" / "instances.json").read_text())
    boxed = {m["class"]["index"] + 1 for m in index["images"][0]["maps"] if m["box"]}
    assert {row["category_id"] for row in read["annotations"]} == boxed
    assert boxed


def test_formats_that_do_not_exist_are_refused(fcam_run, photos, predicted):
    with pytest.raises(UserError, match="no format is named 'coca'; the nearest: coco; there are"):
        predicted(f"checkpoint={fcam_run}", f"images={photos[0]}", "labels=[png,coca]")


def test_stems_are_of_one_image_each():
    names = ["a.JPG", "a.json", "a.png", "b/a.jpg", "b/.png", "c", "c.jpg", "d.tar.png", "A.gif"]
    names += ["e.bmp.png", "e.gif", "e.bmp"]
    found = [file.stem for file in with_stems(Found(None, name) for name in names)]
    expected = ["a", "a.json", "a.png", "b/a", "b/.png", "c", "c.jpg", "d.tar", "A.gif"]
    assert found == [*expected, "e.bmp", "e", "e.bmp_"]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_write_what_one_writes(tmp_path, processes):
    written = []
    for count in (1, processes):
        labels = Labels(["coco", "cvat", "labelstudio", "png", "yolo"], ["x", "y"], tmp_path, 0.5)
        parts = [Part(tmp_path, process) for process in range(count)]
        for number in range(7):
            mask = np.random.default_rng(number).random((5, 4)) < 0.5
            read = ReadImage(number, Found(None, f"{number}.png", str(number)), mask[..., None])
            objects = [LabelledObject(number % 2, 0.5, mask)] if number != 3 else []
            for name, fragment in labels.write(read, objects).items():
                parts[number % count].note(number, kind_of(name), fragment)
        for part in parts:
            part.close()
        assert labels.join()[0] == tmp_path / "labels" / "coco"
        remove_parts(tmp_path)
        files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        written.append({path.relative_to(tmp_path): path.read_bytes() for path in files})
        shutil.rmtree(tmp_path / "labels")
    assert written[0] == written[1]
    assert len(written[0]) == 1 + 1 + 2 + 8 + 8
