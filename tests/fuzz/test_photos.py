"""Folders of photographs of which one file is spoilt: they are read, or the file is named."""

import importlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learned_saliency.datamodules import FolderReader
from learned_saliency.datamodules.readers import making
from tests.fuzz.generators import changed_bytes, changed_lines
from tests.fuzz.guards import budget, outcome
from tests.support.photos import fill

_NAMES = [f"{name}/{name}_{i}.jpg" for name in ("cat", "dog") for i in range(4)]
_COCO = {
    "images": [{"id": i, "file_name": name} for i, name in enumerate(_NAMES)],
    "annotations": [{"image_id": i, "bbox": [1, 2, 8, 9], "category_id": 1} for i in range(8)],
    "categories": [{"id": 1, "name": "thing"}],
}
_NOTES = {
    "boxes.csv": "\n".join(["image,xmin,ymin,xmax,ymax", *(f"{n},1,2,9.5,11" for n in _NAMES)]),
    "boxes.json": json.dumps(_COCO, indent=1),
}


@pytest.fixture(scope="module", params=_NOTES)
def photos(request, tmp_path_factory):
    """A folder of photographs with boxes in a file, and the file."""
    root = fill(tmp_path_factory.mktemp("fuzz") / "photos", cat=4, dog=4)
    note = root / request.param
    note.write_text(_NOTES[request.param])
    importlib.import_module("timm.data")  # the first import of W&B below it makes folders
    with pytest.MonkeyPatch.context() as patch:  # nothing is written
        patch.setattr(making, "write_metadata", lambda folder, name, settings, make: make())
        patch.setattr(making, "tell", lambda root, metadata: None)
        yield root, note


@budget(25)
@given(draw=st.data())
def test_photographs(photos, draw):
    root, note = photos
    path = draw.draw(st.sampled_from([note, note, note, root / _NAMES[0]]))
    before = path.read_bytes()
    if path == note and draw.draw(st.booleans()):
        lines = draw.draw(changed_lines(before.decode().splitlines(), draw.draw(st.integers(1, 3))))
        path.write_bytes("\n".join(lines).encode("utf-8", "replace"))
    else:
        path.write_bytes(draw.draw(changed_bytes(before)))
    try:
        reader = FolderReader(val_fraction=0.25, test_fraction=0.25)
        outcome(lambda: reader.prepare(root, root.parent / "metadata"), root.parent, [str(root)])
    finally:
        path.write_bytes(before)
