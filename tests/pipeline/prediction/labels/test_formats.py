"""Annotation files, read back by pycocotools and from the formats' documentation."""

import json
import os
from io import BytesIO
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from learned_saliency.pipeline.prediction.labels import FORMATS
from learned_saliency.pipeline.prediction.labels.base import (
    LabelledImage,
    LabelledObject,
    run_lengths,
    unique_names,
)

CLASSES = ["tench", "a \"b\" <c> & 'd'", "crane: yes", "é, 鳥"]
STRANGE = "sub/a \"b\" <c> & 'd' ü\x07${x}.png"


def masks(height, width, seed):
    """A thick shape with a hole, and noise whose runs are short."""
    generator = np.random.default_rng(seed)
    shape = np.zeros((height, width), bool)
    shape[height // 4 : -1, 1 : width // 2 + 1] = True
    shape[height // 2, width // 4] = False
    noise = generator.random((height, width)) < 0.4
    noise[-1, -1] = noise[0, 0] = True
    return shape, noise


@pytest.fixture
def images():
    shape, noise = masks(13, 29, 0)
    wide, _ = masks(40, 9000, 1)
    objects = [LabelledObject(3, 0.7, shape), LabelledObject(1, 0.2, noise)]
    return [
        LabelledImage(0, "a.jpg", "a", 29, 13, objects),
        LabelledImage(4, STRANGE, STRANGE[:-4], 9000, 40, [LabelledObject(0, 0.9, wide)]),
        LabelledImage(5, "flat.png", "flat", 8, 6, []),
    ]


@pytest.fixture
def written(images, tmp_path):
    """Writes the files of a format; gives their folder."""

    def write(name):
        form = FORMATS[name](CLASSES)
        fragments = json.dumps([form.fragment(image) for image in images])
        files = {path: data for image in images for path, data in form.image_files(image)}
        for path, pieces in form.joined_files(lambda: iter(json.loads(fragments))):
            files[path] = "".join(pieces).encode()
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        return tmp_path

    return write


def pairs(images):
    return [(image, found) for image in images for found in image.objects]


def test_coco_is_read_by_pycocotools(images, written):
    from pycocotools.coco import COCO
    from pycocotools.mask import area, toBbox

    read = COCO(str(written("coco") / "instances.json"))
    assert [read.cats[k + 1]["name"] for k in range(4)] == CLASSES
    assert sorted(read.imgs) == [image.number + 1 for image in images]
    for image in images:
        row = read.imgs[image.number + 1]
        size = (image.width, image.height)
        assert (row["file_name"], row["width"], row["height"]) == (image.name, *size)
        annotations = read.loadAnns(read.getAnnIds(imgIds=row["id"]))
        for found, annotation in zip(image.objects, annotations, strict=True):
            np.testing.assert_array_equal(read.annToMask(annotation), found.mask)
            code = read.annToRLE(annotation)
            assert annotation["area"] == area(code) == found.mask.sum()
            assert annotation["bbox"] == toBbox(code).tolist()
            assert annotation["category_id"] == found.label + 1
            assert annotation["score"] == found.probability
    assert sorted(read.anns) == [1, 2, 3]


def test_voc_counts_from_1_with_both_corners_inside(images, written):
    folder = written("voc") / "Annotations"
    for image in images:
        root = ElementTree.parse(folder / f"{image.stem}.xml").getroot()
        assert root.tag == "annotation"
        name = image.name.rpartition("/")[2].replace("\x07", "\ufffd")
        assert root.findtext("filename") == name
        assert [int(root.findtext(f"size/{key}")) for key in ("width", "height", "depth")] == [
            image.width,
            image.height,
            3,
        ]
        for found, node in zip(image.objects, root.iter("object"), strict=True):
            assert node.findtext("name") == CLASSES[found.label]
            x0, y0, x1, y1 = (
                int(node.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")
            )
            inside = np.zeros_like(found.mask)
            inside[y0 - 1 : y1, x0 - 1 : x1] = True
            assert inside.sum() == (x1 - x0 + 1) * (y1 - y0 + 1)
            assert not (found.mask & ~inside).any()
            assert found.mask[y0 - 1].any()
            assert found.mask[:, x1 - 1].any()


def test_yolo_boxes_are_middles_and_sizes_in_parts_of_the_image(images, written):
    folder = written("yolo")
    names = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))["names"]
    assert [names[k] for k in range(4)] == CLASSES
    for image in images:
        lines = (folder / "labels" / f"{image.stem}.txt").read_text().splitlines()
        for found, line in zip(image.objects, lines, strict=True):
            label, *values = line.split()
            x, y, width, height = np.array(values, float) * ([image.width, image.height] * 2)
            edges = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            x0, y0, x1, y1 = found.box
            np.testing.assert_allclose(edges, [x0, y0, x1 + 1, y1 + 1], atol=1e-3)
            assert int(label) == found.label


def test_cvat_masks_are_run_lengths_along_the_rows_of_the_box(images, written):
    root = ElementTree.parse(written("cvat") / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [node.text for node in root.findall("meta/task/labels/label/name")] == CLASSES
    nodes = root.findall("image")
    assert [node.get("id") for node in nodes] == ["0", "1", "2"]
    for image, node in zip(images, nodes, strict=True):
        assert node.get("name") == image.name.replace("\x07", "\ufffd")
        assert (int(node.get("width")), int(node.get("height"))) == (image.width, image.height)
        found_masks, found_boxes = node.findall("mask"), node.findall("box")
        for found, mask, box in zip(image.objects, found_masks, found_boxes, strict=True):
            place = [int(mask.get(key)) for key in ("left", "top", "width", "height")]
            flat = [
                number % 2
                for number, count in enumerate(mask.get("rle").split(","))
                for _ in range(int(count))
            ]
            left, top, width, height = place
            whole = np.zeros_like(found.mask)
            whole[top : top + height, left : left + width] = np.reshape(flat, (height, width))
            np.testing.assert_array_equal(whole, found.mask)
            edges = [float(box.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")]
            assert edges == [left, top, left + width, top + height]
            assert mask.get("label") == box.get("label") == CLASSES[found.label]


def decoded(code):
    """Values of a stream of bits as Label Studio's reader takes it apart."""
    bits = "".join(f"{byte:08b}" for byte in code)
    place = 0

    def read(count):
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    number, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < number:
        repeated = read(1)
        length = read(sizes[read(2)]) + 1
        if repeated:
            values += [read(word)] * length
        else:
            values += [read(word) for _ in range(length)]
    assert len(values) == number
    assert len(bits) - place < 8
    return np.array(values, np.uint8)


def test_label_studio_has_percentages_and_its_own_code_of_masks(images, written):
    folder = written("labelstudio")
    tasks = json.loads((folder / "tasks.json").read_text())
    interface = ElementTree.parse(folder / "config.xml").getroot()
    for tag, name in (("RectangleLabels", "box"), ("BrushLabels", "mask")):
        node = interface.find(tag)
        assert (node.get("name"), node.get("toName")) == (name, "image")
        assert [label.get("value") for label in node] == CLASSES
    assert interface.find("Image").get("value") == "$image"
    for image, task in zip(images, tasks, strict=True):
        path = task["data"]["image"].removeprefix("/data/local-files/?d=")
        assert unquote_to_bytes(path) == os.fsencode(image.name)
        results = task["predictions"][0]["result"]
        assert len({result["id"] for result in results}) == len(results) == 2 * len(image.objects)
        for found, box, mask in zip(image.objects, results[::2], results[1::2], strict=True):
            for result, name, kind in ((box, "box", "rectangle"), (mask, "mask", "brush")):
                assert (result["from_name"], result["type"]) == (name, f"{kind}labels")
                assert result["value"][f"{kind}labels"] == [CLASSES[found.label]]
                assert (result["original_width"], result["original_height"]) == found.mask.T.shape
            x, y, width, height = (box["value"][key] for key in ("x", "y", "width", "height"))
            x0, y0, x1, y1 = found.box
            edges = np.array([x, y, x + width, y + height]) / 100
            edges *= [image.width, image.height] * 2
            np.testing.assert_allclose(edges, [x0, y0, x1 + 1, y1 + 1])
            values = decoded(mask["value"]["rle"]).reshape(image.height, image.width, 4)
            np.testing.assert_array_equal(values, 255 * np.repeat(found.mask[..., None], 4, 2))


@pytest.mark.parametrize("count", [4, 254, 255])
def test_png_masks_hold_the_class_and_the_most_probable_object(images, count):
    form = FORMATS["png"]([f"class {k}" for k in range(count)])
    shape, noise = (found.mask for found in images[0].objects)
    ((path, content),) = form.image_files(images[0])
    assert path == "masks/a.png"
    picture = Image.open(BytesIO(content))
    assert picture.mode == ("I;16" if count > 254 else "P")
    values = np.asarray(picture)
    np.testing.assert_array_equal(values == 4, shape)
    np.testing.assert_array_equal(values == 2, noise & ~shape)
    assert set(np.unique(values)) <= {0, 2, 4}
    if count <= 254:  # VOC's first colors
        colors = np.array(picture.getpalette()).reshape(-1, 3)
        assert colors[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
        assert colors[255].tolist() == [224, 224, 192]
    ((name, lines),) = form.joined_files(lambda: iter(()))
    assert name == "names.txt"
    assert list(lines)[:2] == ["0,background\n", "1,class 0\n"]


def test_names_of_several_classes_get_their_numbers():
    assert unique_names(["crane", "ox", "crane"]) == ["crane (0)", "ox", "crane (2)"]


def test_run_lengths_begin_with_background():
    assert run_lengths(np.array([False, True, True])) == [1, 2]
    assert run_lengths(np.array([True, False])) == [0, 1, 1]


def test_names_that_are_no_text_are_written_all_the_same(images):
    name = os.fsdecode(b"photo-\xff.png")
    image = images[0]._replace(name=name, stem=name[:-4])
    for form in (made(CLASSES) for made in FORMATS.values()):
        fragment = json.loads(json.dumps(form.fragment(image)))
        for _, pieces in form.joined_files(lambda fragment=fragment: iter([fragment])):
            assert "".join(pieces).encode()
        assert all(isinstance(content, bytes) for _, content in form.image_files(image))
