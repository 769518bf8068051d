"""Miniature downloads by the names of their data sets: the root, and words for their readers."""

import pytest

from tests.support import layouts, manylabel_layouts, photos


def cub(folder):
    root = layouts.cub(folder)
    metadata = layouts.cubv2(folder / "benchmark", root / "images")
    return root, [f"data.reader.cubv2_metadata={metadata}"]


def imagenet(folder):
    return layouts.imagenet(folder), ["data.reader.val_per_class=1"]


def openimages(folder):
    return layouts.openimages(folder), []


def pets(folder):
    return layouts.pets(folder), ["data.reader.val_per_class=1"]


def parquet(place):
    """Write two files of rows, whose images are their bytes."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    names = [name for name, count in (("train", 12), ("test", 4)) for _ in range(count)]
    (place / "set/data").mkdir(parents=True)
    for split in ("train", "test"):
        numbers = [number for number, name in enumerate(names) if name == split]
        files = [photos.save(place / f"{number}.png", number) for number in numbers]
        cells = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
        rows = pa.table({"image": cells, "label": [number % 2 for number in numbers]})
        pq.write_table(rows, place / f"set/data/{split}-00000-of-00001.parquet")
    return place / "set", []


def voc(folder):
    return manylabel_layouts.voc(folder / "voc"), ["data.reader.val_fraction=0.4"]


def coco(folder):
    return manylabel_layouts.coco(folder / "coco"), ["data.reader.val_fraction=0.4"]


def nih(folder):
    words = ["data.reader.val_fraction=0.3", "data.reader.boxed_val_fraction=0.5"]
    return manylabel_layouts.nih(folder / "nih"), words


def labels(folder):
    words = ["data.reader.boxes=boxes.csv", "data.reader.group_column=person"]
    return manylabel_layouts.labels(folder / "labels"), words
