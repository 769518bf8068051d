"""Images that are no files of their own, through the data module."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import ByteReader, DataError, ImageError, WSOLDataModule
from learned_saliency.datamodules.readers.writing import Metadata, SplitRows, write_metadata

NAMES = [f"all.bin/{i}" for i in range(4)]


def encoded(i, kind="PNG"):
    pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


class Packed(ByteReader):
    """Images in one file of equal pieces; a class of this module, so that workers get it."""

    def __init__(self, root=None, cut=None):
        self.root, self.cut = root, cut

    def at(self, root):
        return Packed(root, self.cut)

    def open(self, image_id):
        number = int(image_id.rpartition("/")[2])
        if number == 3 and self.cut == "gone":
            raise ImageError("there is no such row")
        with zipfile.ZipFile(self.root / "all.zip") as archive:
            content = archive.read(str(number))
        return content[: self.cut] if number == 3 and self.cut else content

    def prepare(self, root, metadata):
        rows = SplitRows(NAMES, [0, 1, 0, 1], np.array([[30, 20]] * 4))
        boxes = SplitRows(NAMES, rows.labels, rows.sizes, np.array([[0, 0, 3, 4]] * 4), NAMES)
        splits = {"train": rows, "val": boxes, "test": boxes}
        write_metadata(metadata, "packed", {}, lambda: Metadata(["a", "b"], splits))


def data_module(tmp_path, cut=None, **options):
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "all.zip", "w") as archive:
        for i in range(4):
            archive.writestr(str(i), encoded(i))
    sizes = {"resize_size": 16, "crop_size": 16, "batch_size": 2}
    return WSOLDataModule(
        root, tmp_path / "metadata", reader=Packed(cut=cut), **{**sizes, **options}
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_packed_images_are_those_of_files(tmp_path, workers):
    data = data_module(tmp_path, num_workers=workers)
    data.prepare_data()
    data.setup()
    files = tmp_path / "files" / "all.bin"
    files.mkdir(parents=True)
    for i in range(4):
        (files / str(i)).write_bytes(encoded(i))
    plain = WSOLDataModule(
        files.parent, tmp_path / "metadata", resize_size=16, crop_size=16, batch_size=2
    )
    plain.setup()
    for packed, single in zip(data.val_dataloader(), plain.val_dataloader(), strict=True):
        torch.testing.assert_close(packed["image"], single["image"], rtol=0, atol=0)
    assert len(list(data.train_dataloader())) == 2


@pytest.mark.parametrize(
    ("cut", "message"),
    [(500, r"image_ids.txt, line 4: the image .*all.bin/3 does not decode"), ("gone", "such row")],
)
def test_broken_packed_images_are_named_before_training(tmp_path, cut, message):
    data = data_module(tmp_path, cut)
    data.prepare_data()
    with pytest.raises(DataError, match=message):
        data.setup()


def test_they_are_kept_in_memory_as_files_are(tmp_path):
    data = data_module(tmp_path, cache="memory")
    data.prepare_data()
    data.setup()
    (tmp_path / "root" / "all.zip").rename(tmp_path / "gone.zip")
    with pytest.raises(DataError, match=r"all\.bin/0: the image is missing"):
        data.val_dataloader()
    (tmp_path / "gone.zip").rename(tmp_path / "root" / "all.zip")
    assert next(iter(data.val_dataloader()))["image"].shape == (2, 3, 16, 16)


def test_nothing_is_written_where_it_is_forbidden(tmp_path):
    data = data_module(tmp_path, read_only=True)
    data.prepare_data()
    with pytest.raises(DataError, match="holds none of the folders"):
        data.setup()
    assert not (tmp_path / "metadata").exists()
    data.reader.prepare(data.root, data.metadata)
    data.setup()
    assert next(iter(data.test_dataloader()))["image"].shape == (2, 3, 16, 16)
