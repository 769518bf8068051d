"""Metadata and labels of a data set: they are read whole, or file and line are named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from learned_saliency.datamodules import WSOLDataModule
from tests.fuzz.generators import TEXTS, changed_bytes, changed_lines
from tests.fuzz.guards import budget, outcome

_SPLITS = ("train", "val", "test")
_COUNT, _CLASSES = 4, 3


@pytest.fixture(scope="module")
def data_set(place):
    """Root of a small data set with boxes and masks, and the lines of its text files."""
    root = place / "input"
    Image.new("RGB", (12, 10), "gray").save(root / "a b.png")
    Image.new("L", (12, 10), 9).save(root / "mask.png")
    files = {"class_names.txt": [f"{label},class {label}" for label in range(_CLASSES)]}
    for split in _SPLITS:
        ids = [f"{split}/{i}.png" for i in range(_COUNT)]
        (root / split).mkdir()
        for image_id in ids:
            Image.new("RGB", (12, 10), "gray").save(root / image_id)
        files |= {
            f"{split}/image_ids.txt": ids,
            f"{split}/class_labels.txt": [f"{id_},{i % _CLASSES}" for i, id_ in enumerate(ids)],
            f"{split}/image_sizes.txt": [f"{id_},12,10" for id_ in ids],
            f"{split}/localization.txt": [f"{id_},{i},1,{i + 4},8" for i, id_ in enumerate(ids)],
            f"{split}/masks.txt": [
                f"{id_},mask.png,{'mask.png' * (i % 2)}" for i, id_ in enumerate(ids)
            ],
        }
    return root, files


@st.composite
def spoilt(
    draw: st.DrawFn, names: list[str], lines: dict[str, list[str]]
) -> dict[str, bytes | None]:
    """Contents of all text files by name, up to two of them changed; None leaves a file out."""
    if not draw(st.integers(0, 3)):  # the same odd name in all files
        old = draw(st.sampled_from(["val/1.png", "train/0.png", "mask.png"]))
        new = draw(st.sampled_from([*TEXTS, "a b.png", "./a b.png", "train/../a b.png"]))
        lines = {name: [line.replace(old, new) for line in own] for name, own in lines.items()}
    contents = {name: "\n".join(own).encode() + b"\n" for name, own in lines.items()}
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        kind = draw(st.sampled_from(["lines", "lines", "lines", "bytes", "free", "out"]))
        if kind == "lines":
            changed = draw(changed_lines(lines[name], draw(st.integers(1, 3))))
            end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n", "\u2028"]))
            coding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
            contents[name] = end.join(changed).encode(coding, "replace")
        elif kind == "bytes":
            contents[name] = draw(changed_bytes(contents[name]))
        elif kind == "free":
            contents[name] = draw(st.sampled_from(TEXTS) | st.text(max_size=20)).encode()
        else:
            contents[name] = None
    return contents


def read(root: Path, options: dict) -> WSOLDataModule:
    """Set a data set up, and load a batch of each of its splits."""
    options = {"resize_size": 8, "crop_size": 8, "batch_size": 3} | options
    data = WSOLDataModule(root, root / "metadata", **options)
    data.setup()
    for split in filter(data.has_split, _SPLITS):
        batch = next(iter(data.dataloader(split)))
        assert torch.isfinite(batch["image"]).all()
        assert 0 <= batch["label"].min() <= batch["label"].max() < data.num_classes
        assert data.has_boxes(split) == ("boxes" in batch)
        assert data.has_masks(split) == ("mask" in batch)
        for boxes in batch.get("boxes", ()):
            assert boxes.ndim == 2
            assert 0 <= boxes.min() <= boxes.max() <= 8
    return data


OPTIONS = st.fixed_dictionaries(
    {
        "allow_outside_root": st.booleans(),
        "verify_images": st.booleans(),
        "limit": st.sampled_from([None, 1, 2]),
        "num_classes": st.sampled_from([None, None, _CLASSES, 1]),
    }
)


def write(root: Path, contents: dict[str, bytes | None]) -> None:
    """Write the text files of the metadata; None leaves one out."""
    for name, content in contents.items():
        path = root / "metadata" / name
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)


def try_to_read(place: Path, root: Path, contents: dict[str, bytes | None], options: dict) -> None:
    write(root, contents)
    named = [str(root), "/etc/hostname", "/dev/null"]  # what lies outside is named alone
    data = outcome(lambda: read(root, options), place, named).value
    if data is not None:
        assert len(data.class_names) == data.num_classes
        assert np.array(data.class_names).dtype.kind == "U"


@budget(50)
@given(draw=st.data(), options=OPTIONS)
def test_metadata(place, data_set, draw, options):
    root, files = data_set
    names = [name for name in files if not name.endswith(("class_labels.txt", "class_names.txt"))]
    try_to_read(place, root, draw.draw(spoilt(names, files)), options)


@budget(50)
@given(draw=st.data(), options=OPTIONS)
def test_labels(place, data_set, draw, options):
    root, files = data_set
    names = [name for name in files if name.endswith(("class_labels.txt", "class_names.txt"))]
    contents = draw.draw(spoilt(names, files))
    if draw.draw(st.booleans()):
        contents["class_names.txt"] = None  # so that the labels count the classes
    try_to_read(place, root, contents, options)
