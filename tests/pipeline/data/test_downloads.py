"""Miniature downloads of the papers' data sets: whole ones are usable, faults are named by file."""

import numpy as np
import pytest
from PIL import Image

from learned_saliency.pipeline.cli import compose_checked
from learned_saliency.pipeline.data import Severity, examine
from tests.support import layouts

ALWAYS = {"count", "option", "unlisted"}  # kinds of findings about all miniatures


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


DOWNLOADS = {write.__name__: write for write in (cub, imagenet, openimages, pets)}


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


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_whole_download_is_usable(tmp_path, name):
    examination = check(name, tmp_path)
    assert {finding.kind for finding in examination.findings} <= ALWAYS
    assert list(examination.counts) == ["train", "val", "test"]
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
    ],
)
def test_a_fault_of_a_download_is_named_by_its_file(tmp_path, name, plant, kind, place):
    findings = check(name, tmp_path, plant).findings.of(Severity.ERROR)
    told = [str(finding) for finding in findings.get(kind, [])]
    assert any(place in sentence for sentence in told), findings
