"""Miniature copies of public downloads, in the layouts that the originals have when unpacked."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
SYNSETS = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish", "n02085620": "Chihuahua"}
MIDS = ("0bt_c3", "0bt9lr")  # classes of OpenImages: book and dog
BREEDS = ("Abyssinian", "american_bulldog")  # cats have a capital

ANNOTATION = """<annotation>
	<folder>{folder}</folder><filename>{name}</filename>
	<source><database>ILSVRC_2012</database></source>
	<size><width>{width}</width><height>{height}</height><depth>3</depth></size>
	<segmented>0</segmented>
{objects}</annotation>
"""
OBJECT = """	<object>
		<name>{synset}</name><pose>Unspecified</pose><truncated>0</truncated>
		<difficult>0</difficult>
		<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
	</object>
"""


def cub(folder: Path, *, segmentations: bool = True, parts: bool = False) -> Path:
    """Write CUB-200-2011 with 2 classes of 4 training and 2 test images each, 50 x 40 pixels.

    Image i, from 0, is number i + 1 of the lists. Images 0 to 7 are for training. Boxes are
    i + 2.0, 2.7, 20.6 wide and 30.4 high; the last one ends at width and height. The bird's mask
    has the value 255 in columns i + 2 to i + 22 and 102, two answers of five, left of them.

    Args:
        folder: Where ``CUB_200_2011`` is unpacked.
        segmentations: Whether the separate download of masks lies in the folder.
        parts: Whether the lists of attributes and parts do.

    Returns:
        The folder ``CUB_200_2011``.
    """
    root = folder / "CUB_200_2011"
    rows: dict[str, list[str]] = {name: [] for name in ("images", "image_class_labels")}
    rows |= {name: [] for name in ("train_test_split", "bounding_boxes")}
    for i in range(12):
        name = f"{BIRDS[i % 2]}/Bird_{i:04}_{100 + i}"
        _image(root / "images" / f"{name}.jpg", (50, 40), i)
        rows["images"].append(f"{i + 1} {name}.jpg")
        rows["image_class_labels"].append(f"{i + 1} {i % 2 + 1}")
        rows["train_test_split"].append(f"{i + 1} {int(i < 8)}")
        box = "10.0 5.0 40.0 35.0" if i == 11 else f"{i + 2}.0 2.7 20.6 30.4"
        rows["bounding_boxes"].append(f"{i + 1} {box}")
        if segmentations:
            mask = np.zeros((40, 50), np.uint8)
            mask[2:34, i + 2 : i + 23] = 255
            mask[2:34, i + 1] = 102
            _save(root / "segmentations" / f"{name}.png", mask)
    rows["classes"] = [f"{i + 1} {name}" for i, name in enumerate(BIRDS)]
    _texts(root, {f"{name}.txt": lines for name, lines in rows.items()})
    if parts:
        _cub_parts(root)
    return root


def cubv2(folder: Path, images: Path) -> Path:
    """Write CUBV2: an image of 30 x 20 pixels per class, and the benchmark's metadata of them.

    Args:
        folder: Where the benchmark's repository lies.
        images: Where ``CUBV2.tar`` is unpacked; the benchmark does it among CUB's images.

    Returns:
        The folder ``metadata/CUB/val``.
    """
    ids = [f"{name}/{4000 + i}.jpg" for i, name in enumerate(BIRDS)]
    for i, name in enumerate(ids):
        _image(images / name, (30, 20), 100 + i)
    lists = {
        "image_ids.txt": ids,
        "class_labels.txt": [f"{name},{i}" for i, name in enumerate(ids)],
        "image_sizes.txt": [f"{name},30,20" for name in ids],
        "localization.txt": [f"{name},{i + 1},2,23,14" for i, name in enumerate(ids)],
    }
    return _texts(folder / "metadata" / "CUB" / "val", lists)


def imagenet(folder: Path, form: str = "kaggle", *, boxes: bool = True) -> Path:
    """Write ILSVRC2012 with 3 classes of 4 training and 2 validation images each, 48 x 36 pixels.

    Validation image n, from 1, is of class (n - 1) modulo 3. It has a box 4,5,n+20,30, and image 2
    another one, which ends at width and height: 10,12,48,36. Training image 3 of each class has the
    box 1,2,30,33.

    Args:
        folder: Where the downloads are unpacked.
        form: Layout: ``"kaggle"``, the archive of the Kaggle challenge; ``"flat"``, the tar files
            of image-net.org, with the annotations below ``val``; ``"sorted"``, that after the usual
            script, without names of the classes.
        boxes: Whether the annotations lie there.

    Returns:
        The root: what ``data.root`` is.
    """
    root = folder / "imagenet"
    places = {
        "kaggle": ("ILSVRC/Data/CLS-LOC", "ILSVRC/Annotations/CLS-LOC"),
        "flat": ("", ""),
        "sorted": ("", "Annotations/CLS-LOC"),
    }[form]
    data, notes = (root / place for place in places)
    synsets = list(SYNSETS)
    for k, synset in enumerate(synsets):
        for i in range(4):
            name = f"{synset}_{10 * k + i}"
            _image(data / "train" / synset / f"{name}.JPEG", (48, 36), 10 * k + i)
            if boxes and i == 3:
                path = notes / "train" / synset / f"{name}.xml"
                _annotation(path, synset, [(1, 2, 30, 33)])
    solution = ["ImageId,PredictionString"]
    for n in range(1, 7):
        name, synset = f"ILSVRC2012_val_{n:08}", synsets[(n - 1) % 3]
        sorted_into = synset if form == "sorted" else ""
        _image(data / "val" / sorted_into / f"{name}.JPEG", (48, 36), 50 + n)
        found = [(4, 5, n + 20, 30), *([(10, 12, 48, 36)] if n == 2 else [])]
        solution.append(f"{name}," + "".join(f"{synset} {_spaced(box)} " for box in found))
        if boxes:
            _annotation(notes / "val" / f"{name}.xml", synset, found)
    if form == "kaggle":
        names = [f"{synset} {words}" for synset, words in SYNSETS.items()]
        _texts(root, {"LOC_val_solution.csv": solution, "LOC_synset_mapping.txt": names})
        (root / "ILSVRC/Data/CLS-LOC/test").mkdir()
    return root


def imagenetv2(folder: Path, images: Path) -> Path:
    """Write ImageNetV2: an image of 40 x 30 pixels per class, and the benchmark's metadata.

    The metadata has the names of the present download, and ``mapping.txt`` those of the first one.
    Class 1 has two boxes.

    Args:
        folder: Where the benchmark's repository lies.
        images: Where the archive's folders ``0``, ``1``, ... lie.

    Returns:
        The folder ``metadata/ILSVRC/val``.
    """
    names = [f"{k}/{k:040x}.jpeg" for k in range(3)]
    for k, name in enumerate(names):
        _image(images / name, (40, 30), 200 + k)
    ids = [f"val2/{name}" for name in names]
    lists = {
        "image_ids.txt": ids,
        "class_labels.txt": [f"{name},{k}" for k, name in enumerate(ids)],
        "image_sizes.txt": [f"{name},40,30" for name in ids],
        "localization.txt": [*(f"{name},3,4,39,29" for name in ids), f"{ids[1]},0,0,5,6"],
        "mapping.txt": [f"{k}/0.jpeg, {name}" for k, name in enumerate(names)],
    }
    return _texts(folder / "metadata" / "ILSVRC" / "val", lists)


def openimages(folder: Path) -> Path:
    """Write OpenImages30k: 2 classes of 3 training, 1 validation and 2 test images, 32 x 24 pixels.

    Instances: columns 4 to 12 of all images; of the first of each class also columns 20 to 27.
    Ignored: columns 12 to 15 and rows 20 and beyond.

    Returns:
        The folder ``OpenImages``.
    """
    root = folder / "OpenImages"
    for k, mid in enumerate(MIDS):
        for first, split, count in ((0, "train", 3), (3, "val", 1), (4, "test", 2)):
            for i in range(count):
                stem = root / split / mid / f"{(100 * k + i) * 7919:016x}"
                _image(stem.with_suffix(".jpg"), (32, 24), 300 + 10 * k + first + i)
                if split == "train":
                    continue
                spans = [(4, 13), (20, 28)][: 2 if i == 0 else 1]
                for start, stop in spans:
                    mask = np.zeros((24, 32), np.uint8)
                    mask[:, start:stop] = 255
                    _save(stem.with_name(f"{stem.name}_m{mid}_{start:08x}.png"), mask)
                ignored = np.zeros((24, 32), np.uint8)
                ignored[:, 12:16] = ignored[20:] = 255
                _save(stem.with_name(f"{stem.name}_ignore.png"), ignored)
    return root


def openimages_metadata(folder: Path, root: Path) -> Path:
    """Write the benchmark's metadata of the miniature OpenImages30k.

    Args:
        folder: Where the benchmark's repository lies.
        root: What `openimages` has written.

    Returns:
        The folder ``metadata/OpenImages``.
    """
    place = folder / "metadata" / "OpenImages"
    for split in ("train", "val", "test"):
        files = sorted((root / split).rglob("*.jpg"), key=lambda path: MIDS.index(path.parent.name))
        ids = [path.relative_to(root).as_posix() for path in files]
        labels = [f"{name},{MIDS.index(Path(name).parent.name)}" for name in ids]
        lists = {"image_ids.txt": ids, "class_labels.txt": labels}
        if split != "train":
            lines = []
            for path, name in zip(files, ids, strict=True):
                masks = sorted(path.parent.glob(f"{path.stem}_m*.png"))
                ignored = f"{name.removesuffix('.jpg')}_ignore.png"
                for i, mask in enumerate(masks):  # only the first line names the ignore mask
                    row = (name, mask.relative_to(root).as_posix(), "" if i else ignored)
                    lines.append(",".join(row))
            lists["localization.txt"] = lines
        _texts(place / split, lists)
    return place


def pets(folder: Path) -> Path:
    """Write the Oxford-IIIT Pets: 2 breeds of 4 training and 2 test images each, 40 x 30 pixels.

    The trimap's object is rows 5 to 24 and columns 10 to 29, around which a border of 2 pixels is
    not classified. As in the original, image 1 of the first breed is a GIF inside, there are files
    of macOS and Matlab among the others, and the first image of each breed is in no list.

    Returns:
        The folder that holds ``images`` and ``annotations``.
    """
    root = folder / "oxford-iiit-pet"
    notes = root / "annotations"
    rows: dict[str, list[str]] = {"trainval.txt": [], "test.txt": []}
    for k, breed in enumerate(BREEDS):
        for i in range(7):
            name = f"{breed}_{i}"
            kind = {"format": "GIF"} if (k, i) == (0, 1) else {}
            _image(root / "images" / f"{name}.jpg", (40, 30), 400 + 10 * k + i, **kind)
            trimap = np.full((30, 40), 2, np.uint8)
            trimap[3:27, 8:32] = 3
            trimap[5:25, 10:30] = 1
            _save(notes / "trimaps" / f"{name}.png", trimap)
            (notes / "trimaps" / f"._{name}.png").write_bytes(b"\x00\x05\x16\x07")
            _annotation(notes / "xmls" / f"{name}.xml", "cat", [(12, 6, 20, 12)])
            if i:
                row = f"{name} {k + 1} {2 - name[0].isupper()} 1"
                rows["trainval.txt" if i < 5 else "test.txt"].append(row)
    (root / "images" / "Abyssinian_100.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    header = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog"]
    _texts(notes, rows | {"list.txt": [*header, *rows["trainval.txt"], *rows["test.txt"]]})
    return root


def _cub_parts(root: Path) -> None:
    """Write the lists of parts and attributes; a class has the attribute of its own number."""
    names = ("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg")
    names += ("left wing", "nape", "right eye", "right leg", "right wing", "tail", "throat")
    places = [
        f"{image} {part} {10.0 + part} {5.0 + part} 1"
        for image in range(1, 13)
        for part in range(1, len(names) + 1)
    ]
    numbered = [f"{part} {name}" for part, name in enumerate(names, start=1)]
    _texts(root / "parts", {"parts.txt": numbered, "part_locs.txt": places})
    shares = {"class_attribute_labels_continuous.txt": ["90.0 5.0", "5.0 90.0"]}
    _texts(root / "attributes", shares)
    described = ["1 has_bill_shape::dagger", "2 has_wing_color::blue"]
    _texts(root.parent, {"attributes.txt": described})


def _image(path: Path, size: tuple[int, int], seed: int, **options: str) -> None:
    """Write an image of coarse random colors, width and height given."""
    cells = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cells).resize(size, Image.Resampling.NEAREST).save(path, **options)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _annotation(path: Path, synset: str, boxes: Iterable[tuple[int, ...]]) -> None:
    objects = "".join(OBJECT.format(*box, synset=synset) for box in boxes)
    about = {"folder": path.parent.name, "name": path.stem, "width": 48, "height": 36}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ANNOTATION.format(objects=objects, **about))


def _spaced(box: tuple[int, ...]) -> str:
    return " ".join(map(str, box))


def _texts(folder: Path, files: Mapping[str, Iterable[str]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder
