"""Miniature downloads of the papers' data sets: whole ones are usable, faults are named by file."""

import numpy as np
import pytest
from PIL import Image

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.data import Severity, examine
from tests.support import photos
from tests.support.downloads import cub, imagenet, openimages, parquet, pets

ALWAYS = {"count", "option", "unlisted"}  # kinds of findings about all miniatures


def folder(place):
    root = photos.fill(place / "photos", cat=12, dog=12)
    for split in ("cat", "dog"):
        boxes = [f"{split}_{i}.jpg,4,5,30,29" for i in range(12)]
        (root / split / "boxes.csv").write_text("\n".join(["image,x0,y0,x1,y1", *boxes]) + "\n")
    return root, []


DOWNLOADS = {write.__name__: write for write in (cub, imagenet, openimages, pets, folder, parquet)}
STATED = ("cub", "imagenet", "openimages", "pets")  # whose pages state counts


def check(name, folder, plant=None):
    """Examine a miniature, in which a fault is planted before or after its metadata is made."""
    root, words = DOWNLOADS[name](folder)
    place = [f"data.root={root}", f"data.metadata={folder}/made", f"output_dir={folder}/out"]
    config = compose_checked([f"data={name}", *place, *words], "doctor")
    if plant is not None:
        plant(root)
    return examine(config, folder / "out")


def first(root, pattern):
    return sorted(root.glob(pattern))[0]


def cut_off(pattern):
    def plant(root):
        path = first(root, pattern)
        path.write_bytes(path.read_bytes()[:-60])

    return plant


def remove(pattern):
    return lambda root: first(root, pattern).unlink()


def spoil_line(name, old, new):
    def plant(root):
        path = first(root, name)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return plant


def reshape(pattern):
    def plant(root):
        path = first(root, pattern)
        Image.fromarray(np.full((9, 30), 255, np.uint8)).save(path)

    return plant


def spoil_image(root):
    """Cut the end off an image in a row of a parquet file."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = root / "data/test-00000-of-00001.parquet"
    columns = pq.read_table(path).to_pydict()
    columns["image"][1]["bytes"] = columns["image"][1]["bytes"][:-60]
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_whole_download_is_usable(tmp_path, name):
    examination = check(name, tmp_path)
    assert {finding.kind for finding in examination.findings} <= ALWAYS
    assert list(examination.counts) == ["train", "val", "test"]
    if name in STATED:
        assert examination.counts["train"].published.images > 1000


@pytest.mark.parametrize(
    ("name", "plant", "kind", "place"),
    [
        ("cub", remove("images.txt"), "download", "CUB_200_2011/images.txt"),
        ("cub", cut_off("images/*/Bird_0003*.jpg"), "image-damaged", "Bird_0003_103.jpg"),
        ("cub", cut_off("segmentations/*/Bird_0008*.png"), "mask-damaged", "Bird_0008_108.png"),
        ("cub", spoil_line("bounding_boxes.txt", "3 4.0", "3 x"), "reader", "bounding_boxes.txt"),
        ("imagenet", cut_off("ILSVRC/Data/CLS-LOC/val/*"), "image-damaged", "val_00000001.JPEG"),
        ("imagenet", cut_off("ILSVRC/Annotations/CLS-LOC/val/*"), "reader", "val_00000001.xml"),
        ("openimages", cut_off("val/*/*_m*.png"), "mask-damaged", ".png"),
        ("openimages", reshape("test/*/*_ignore.png"), "mask-shape", "_ignore.png"),
        ("pets", cut_off("annotations/trimaps/Abyssinian_5.png"), "image-damaged", "sinian_5.png"),
        ("pets", remove("images/american_bulldog_6.jpg"), "reader", "american_bulldog_6.jpg"),
        ("folder", cut_off("cat/cat_3.jpg"), "image-damaged", "cat/cat_3.jpg"),
        ("folder", spoil_line("cat/boxes.csv", "t_3.jpg,4", "t_3.jpg,44"), "reader", "boxes.csv"),
        ("parquet", cut_off("data/test*.parquet"), "reader", "test-00000-of-00001.parquet"),
        ("parquet", spoil_image, "reader", "test-00000-of-00001.parquet/1"),
    ],
)
def test_a_fault_of_a_download_is_named_by_its_file(tmp_path, name, plant, kind, place):
    findings = check(name, tmp_path, plant).findings.of(Severity.ERROR)
    told = [str(finding) for finding in findings.get(kind, [])]
    assert any(place in sentence for sentence in told), findings
