"""Miniature copies of downloads with several classes per image, in the layouts of the originals."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30
_VOC_OBJECT = """	<object>
		<name>{name}</name>
		<pose>Left</pose>
		<truncated>1</truncated>
		<difficult>{difficult}</difficult>
		<bndbox>
			<xmin>{}</xmin>
			<ymin>{}</ymin>
			<xmax>{}</xmax>
			<ymax>{}</ymax>
		</bndbox>
		<part>
			<name>head</name>
			<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>
		</part>
	</object>
"""
_DOG, _CAT = 12, 8  # values of SegmentationClass
#: Columns, counted from 1 with both ends, that objects of a miniature VOC cover; rows are 6 to 25.
SPANS = {"dog": (3, 14), "cat": (17, 28), "person": (31, 40)}
COCO_IDS = {"person": 1, "dog": 18, "toothbrush": 90}


def voc(folder: Path) -> Path:
    """Write VOCdevkit/VOC2012 of 6 training and 10 validation images, 40 x 30 pixels.

    Image i has a dog (`SPANS`), an odd one also a cat; every third one a person whose box has
    fractions. Image 2 of either list has a difficult cat besides; image 4 only a difficult person.
    The even images of the validation list have segmentations, in which objects are numbered in
    their order and the column behind each is void.

    Returns:
        The folder that holds ``VOCdevkit``.
    """
    year = folder / "VOCdevkit" / "VOC2012"
    for split, count in (("train", 6), ("val", 10)):
        names = [f"2008_{split}{i:04}" for i in range(count)]
        for i, name in enumerate(names):
            _picture(year / "JPEGImages" / f"{name}.jpg", 500 + 20 * (split == "val") + i)
            objects = _voc_objects(i)
            text = "".join(
                _VOC_OBJECT.format(*box, name=kind, difficult=int(hard))
                for kind, box, hard in objects
            )
            _write(
                year / "Annotations" / f"{name}.xml",
                f"<annotation>\n\t<filename>{name}.jpg</filename>\n{text}</annotation>\n",
            )
            if split == "val" and i % 2 == 0:
                _voc_masks(year, name, objects)
        _write(year / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{n}\n" for n in names))
        lines = "".join(f"{n} {1 - 2 * (k % 2 == 0)}\n" for k, n in enumerate(names))
        _write(year / "ImageSets" / "Main" / f"cat_{split}.txt", lines)
    return folder


def _voc_objects(i: int) -> list[tuple[str, tuple[object, ...], bool]]:
    """List the objects of an image: class, box as it is written, whether it is difficult."""
    boxes = {kind: (first, 6, last, 25) for kind, (first, last) in SPANS.items()}
    if i == 4:
        return [("person", boxes["person"], True)]
    found = [("dog", boxes["dog"], False)]
    if i % 2 or i == 2:
        found.append(("cat", boxes["cat"], i == 2))
    if i % 3 == 0:
        found.append(("person", ("31.70000076", 6, 40, "25.4"), False))
    return found


def _voc_masks(year: Path, name: str, objects: list[tuple[str, tuple[object, ...], bool]]) -> None:
    values = {"dog": _DOG, "cat": _CAT, "person": 15}
    classes, numbers = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(2))
    for number, (kind, _, _) in enumerate(objects, start=1):
        first, last = SPANS[kind]
        for pixels, value in ((classes, values[kind]), (numbers, number)):
            pixels[5:25, first - 1 : last] = value
            pixels[5:25, last : last + 1] = 255
    for kind, pixels in (("SegmentationClass", classes), ("SegmentationObject", numbers)):
        image = Image.fromarray(pixels, "P")
        image.putpalette([k * 37 % 256 for k in range(768)])
        path = year / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


def coco(folder: Path) -> Path:
    """Write COCO 2017 of 6 training and 10 validation images, 40 x 30 pixels, of 3 categories.

    Image i has a dog, a polygon with the box 4.5,6,11.25,18; an odd one also a person of packed
    runs, columns 20 to 29 and rows 2 to 26; image 3 of either list a crowd of toothbrushes and one
    of dogs, and image 5 a toothbrush. The last image has no annotation. Ids of images and
    categories have gaps, and categories come last, as in the original.

    Returns:
        The root.
    """
    for split, count in (("train", 6), ("val", 10)):
        images, annotations = [], []
        for i in range(count):
            key, name = 139 + 17 * i, f"{139 + 17 * i:012}.jpg"
            _picture(folder / f"{split}2017" / name, 700 + 20 * (split == "val") + i)
            images.append({"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT})
            for found in _coco_objects(i) if i < count - 1 else []:
                number = len(annotations)
                annotations.append({"id": 900 + number, "image_id": key, "area": 7.5, **found})
        content = {
            "info": {"year": 2017, "description": 'COCO 2017, "in small"'},
            "licenses": [{"id": 1, "name": "none", "url": "http://a.example/"}],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": key, "name": name, "supercategory": "thing"}
                for name, key in reversed(COCO_IDS.items())
            ],
        }
        _write(folder / "annotations" / f"instances_{split}2017.json", json.dumps(content))
    return folder


def _coco_objects(i: int) -> list[dict[str, object]]:
    triangle = [4.5, 6.0, 15.75, 6.0, 15.75, 24.0]
    found = [_annotation("dog", [4.5, 6.0, 11.25, 18.0], [triangle])]
    if i % 2:
        # 600 pixels down columns 0 to 19, then 10 columns of which rows 2 to 26 are set
        runs = [602, *[25, 5] * 9, 25, 303]
        packed = {"size": [HEIGHT, WIDTH], "counts": _packed(runs)}
        found.append(_annotation("person", [20, 2, 10, 25], packed))
    if i == 3:
        runs = {"size": [HEIGHT, WIDTH], "counts": [900, 60, 240]}
        found.append(_annotation("toothbrush", [30, 0, 2, 30], runs, iscrowd=1))
        runs = {"size": [HEIGHT, WIDTH], "counts": [960, 30, 210]}
        found.append(_annotation("dog", [32, 0, 1, 30], runs, iscrowd=1))
    if i == 5:
        square = [30.0, 20.0, 38.0, 20.0, 38.0, 28.0, 30.0, 28.0]
        found.append(_annotation("toothbrush", [30.0, 20.0, 8.0, 8.0], [square]))
    return found


def _annotation(
    name: str, box: list[float], segmentation: object, iscrowd: int = 0
) -> dict[str, object]:
    about = {"category_id": COCO_IDS[name], "bbox": box, "iscrowd": iscrowd}
    return about | {"segmentation": segmentation}


def _packed(runs: list[int]) -> str:
    """Pack the lengths of runs as COCO's format describes it."""
    text = ""
    for k, run in enumerate(runs):
        value, more = run - (runs[k - 2] if k > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def nih(folder: Path) -> Path:
    """Write ChestX-ray14 of 20 images of 10 patients for training, and 8 of 4 for testing.

    Image k of patient p is ``0000000p_00k.png``, 32 x 32 pixels, some RGBA, in one of two folders.
    Findings are those of `_findings`. The first image of each test patient has a box of its first
    finding, 4.5,6.25,11.0,8.5; the list of boxes calls Infiltration ``Infiltrate``.

    Returns:
        The root.
    """
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    header += "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    rows, boxes = [header], ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
    lists: dict[str, list[str]] = {"train_val_list": [], "test_list": []}
    for patient in range(14):
        test = patient >= 10
        for k in range(2):
            name, labels = f"{patient + 1:08}_{k:03}.png", _findings(patient, k)
            rows.append(f"{name},{labels},{k},{patient + 1},58,M,PA,2682,2749,0.143,0.143,")
            lists["test_list" if test else "train_val_list"].append(name)
            pixels = np.random.default_rng(900 + 2 * patient + k).integers(0, 256, (4, 4), np.uint8)
            image = Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST)
            path = folder / f"images_{1 + k:03}" / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image.convert("RGBA" if patient % 5 == 0 else "L").save(path)
            if test and k == 0:
                first = labels.split("|")[0].replace("Infiltration", "Infiltrate")
                boxes.append(f"{name},{first},4.5,6.25,11.0,8.5")
    files = {"Data_Entry_2017.csv": rows, "BBox_List_2017.csv": boxes}
    files |= {f"{name}.txt": names for name, names in lists.items()}
    for name, lines in files.items():
        _write(folder / name, "".join(f"{line}\n" for line in lines))
    return folder


def _findings(patient: int, image: int) -> str:
    """Name the findings of an image of a patient, as the table does."""
    if image:
        return "No Finding" if patient % 2 else "Pleural_Thickening"
    return ("Infiltration", "Cardiomegaly|Effusion", "Infiltration|Mass")[patient % 3]


def labels(folder: Path) -> Path:
    """Write 24 photographs in two folders, of 12 people, with a table of their classes and boxes.

    Photograph i has a cat where i is a multiple of 2, a dog where of 3, and neither otherwise.

    Returns:
        The root.
    """
    rows, boxes = ["image,labels,person"], ["image,x0,y0,x1,y1,class"]
    for i in range(24):
        own = ["cat"] * (i % 2 == 0) + ["dog"] * (i % 3 == 0)
        _picture(folder / f"room{i % 2}" / f"p{i:02}.jpg", 800 + i)
        rows.append(f"p{i:02},{'|'.join(own)},person{i // 2}")
        for kind in own:
            corners = "2,3,15,20" if kind == "cat" else "20,4,38.9,29"
            boxes.append(f"p{i:02}.jpg,{corners},{kind}")
    _write(folder / "labels.csv", "".join(f"{row}\n" for row in rows))
    _write(folder / "boxes.csv", "".join(f"{row}\n" for row in boxes))
    return folder


def _picture(path: Path, seed: int) -> None:
    """Write an image of coarse random colors."""
    cells = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cells).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST).save(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
