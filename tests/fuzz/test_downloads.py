"""Downloads with a spoilt file: they are read, or the file is named."""

import importlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_saliency.datamodules import (
    COCOReader,
    CUBReader,
    ImageNetReader,
    NIHReader,
    OpenImagesReader,
    PetsReader,
    VOCReader,
)
from tests.fuzz.generators import changed_bytes, changed_lines
from tests.fuzz.guards import budget, outcome
from tests.support import layouts, manylabel_layouts

_LISTS = (".txt", ".csv", ".xml", ".json")
_COCO = {
    f"{split}_files": {
        "annotations": f"annotations/instances_{split}2017.json",
        "images": f"{split}2017",
    }
    for split in ("train", "val")
}
_KINDS = {
    "cub": (layouts.cub, lambda folder: CUBReader(val_per_class=1)),
    "imagenet": (layouts.imagenet, lambda folder: ImageNetReader(val_per_class=1)),
    "imagenet of one folder": (
        lambda folder: layouts.imagenet(folder, "flat"),
        lambda folder: ImageNetReader(layouts.imagenetv2(folder, folder / "imagenet/val2")),
    ),
    "openimages": (
        layouts.openimages,
        lambda folder: OpenImagesReader(layouts.openimages_metadata(folder, folder / "OpenImages")),
    ),
    "pets": (layouts.pets, lambda folder: PetsReader(val_per_class=1)),
    "voc": (manylabel_layouts.voc, lambda folder: VOCReader()),
    "coco": (manylabel_layouts.coco, lambda folder: COCOReader(**_COCO)),
    "nih": (manylabel_layouts.nih, lambda folder: NIHReader()),
}


@pytest.fixture(scope="module", params=_KINDS)
def download(request, tmp_path_factory):
    """Folder, root and reader of a miniature download; the reader writes nothing."""
    importlib.import_module("timm.data")  # the first import of W&B below it makes folders
    write, make = _KINDS[request.param]
    folder = tmp_path_factory.mktemp("download")
    root = write(folder)
    reader = make(folder)
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules[type(reader).__module__]
        patch.setattr(module, "write_metadata", lambda folder, name, settings, make: make())
        yield folder, root, reader


@budget(15)
@given(draw=st.data())
def test_downloads(download, draw):
    folder, root, reader = download
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    lists = [path for path in files if path.suffix in _LISTS]
    images = [path for path in files if path.suffix not in _LISTS]
    path = draw.draw(st.sampled_from(lists) | st.sampled_from(images))
    before = path.read_bytes()
    kind = draw.draw(st.sampled_from(["lines", "lines", "bytes"]))
    if path in lists and kind == "lines":
        lines = before.decode().splitlines()
        changed = "\n".join(draw.draw(changed_lines(lines, draw.draw(st.integers(1, 3)))))
        path.write_bytes(changed.encode("utf-8", "replace"))
    else:
        path.write_bytes(draw.draw(changed_bytes(before)))
    try:
        outcome(lambda: reader.prepare(root, folder / "metadata"), folder, [str(folder), "class "])
    finally:
        path.write_bytes(before)
