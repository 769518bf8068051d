"""OpenImages30k from a miniature of its download: masks, ignored regions, lists, and faults."""

import numpy as np
import pytest

from learned_saliency.datamodules import DataError, OpenImagesReader, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support import layouts
from tests.support.layouts import MIDS

FIRST = "test/0bt_c3/0000000000000000"  # an image of test with two instances


@pytest.fixture
def openimages(tmp_path):
    return layouts.openimages(tmp_path)


def prepared(openimages, tmp_path, reader):
    sizes = {"resize_size": 32, "crop_size": 32, "batch_size": 4}
    data = WSOLDataModule(openimages, tmp_path / "metadata", reader=reader, **sizes)
    data.prepare_data()
    return data


@pytest.mark.parametrize("given", [False, True])
def test_instances_are_united_and_the_ignored_region_is_left_out(openimages, tmp_path, given):
    """By hand, 32 x 24 pixels: instances in columns 4 to 12 and 20 to 27, see `layouts`."""
    metadata = layouts.openimages_metadata(tmp_path / "benchmark", openimages) if given else None
    data = prepared(openimages, tmp_path, OpenImagesReader(metadata))
    data.setup()
    order = MIDS if given else sorted(MIDS)  # the benchmark's order is not that of the names
    assert data.class_names == list(order)
    counts = [data.supervision(split) for split in ("train", "val", "test")]
    assert [(c["images"], c["boxes"], c["masks"]) for c in counts] == [
        (6, 0, 0),
        (2, 0, 4),
        (4, 0, 6),
    ]
    (batch,) = data.test_dataloader()
    assert [order[label] for label in batch["label"]] == [
        image_id.split("/")[1] for image_id in batch["image_id"]
    ]
    place = batch["image_id"].index(f"{FIRST}.jpg")
    rows = np.arange(32) * 24 // 32
    expected = np.zeros((32, 32), np.uint8)
    expected[:, 12:16] = expected[rows >= 20] = 255
    expected[:, 4:13] = expected[:, 20:28] = 1
    assert (batch["mask"][place].numpy() == expected).all()
    single = next(i for i, name in enumerate(batch["image_id"]) if name.endswith("1eef.jpg"))
    expected[:, 20:28] = np.where(rows >= 20, 255, 0)[:, None]
    assert (batch["mask"][single].numpy() == expected).all()


def test_only_the_first_line_of_an_image_names_its_ignore_mask(openimages, tmp_path):
    prepared(openimages, tmp_path, OpenImagesReader())
    split = read_split(tmp_path / "metadata" / "test", localization=True)
    first = split.image_ids.index(f"{FIRST}.jpg")
    assert split.mask_paths[first] == [
        f"{FIRST}_m0bt_c3_00000004.png",
        f"{FIRST}_m0bt_c3_00000014.png",
    ]
    assert split.ignore_paths[first] == [f"{FIRST}_ignore.png"]


def test_classes_are_called_by_their_names_where_these_are_given(openimages, tmp_path):
    table = openimages / "class-descriptions-boxable.csv"
    table.write_text("/m/011k07,Tortoise\n/m/0bt_c3,Book\n/m/0bt9lr,Dog\n")
    data = prepared(openimages, tmp_path, OpenImagesReader())
    data.setup("test")
    assert data.class_names == ["Dog", "Book"]
    table.write_text("/m/0bt_c3\n")
    with pytest.raises(DataError, match=r"class-descriptions-boxable.csv: '/m/0bt_c3' is not"):
        OpenImagesReader().prepare(openimages, tmp_path / "other")


def test_without_any_mask_there_are_labels_alone(openimages, tmp_path):
    for path in openimages.rglob("*.png"):
        path.unlink()
    data = prepared(openimages, tmp_path, OpenImagesReader())
    data.setup()
    assert not data.has_masks("test")
    assert data.supervision("test")["images"] == 4


def test_counts_and_parts_of_the_download(openimages):
    assert [OpenImagesReader.published[s].images for s in ("train", "val", "test")] == [
        *(29_819, 2_500, 5_000)
    ]
    needed = [source for source in OpenImagesReader().sources if source.required]
    assert all((openimages / source.path).exists() for source in needed)


@pytest.mark.parametrize(
    ("file", "new", "message"),
    [
        (f"{FIRST}.jpg", None, rf"{FIRST}.jpg: this image is missing, though masks"),
        (f"{FIRST}_ignore.png", None, rf"{FIRST}.jpg: has no ignore mask \(0000000000000000_\*"),
        ("val/0bt9lr", None, None),
        (f"{FIRST}_m0bt_c3_00000004.png", f"{FIRST}_m0bt9lr_00000004.png", r"of class 0bt9lr by"),
        ("test/0bt9lr", "test/0k4j", r"test/0k4j: there is no folder of this class in train"),
        ("val", "validation", r"OpenImages: not the unpacked OpenImages30k \(no folder val\)"),
    ],
)
def test_faults_of_the_folders_are_named(openimages, tmp_path, file, new, message):
    path = openimages / file
    if new is not None:
        path.rename(openimages / new)
    elif path.is_dir():
        path.rename(tmp_path / "gone")
    else:
        path.unlink()
    if message is None:  # a class may have no images in an evaluation split
        prepared(openimages, tmp_path, OpenImagesReader()).setup()
        return
    with pytest.raises(DataError, match=message):
        OpenImagesReader().prepare(openimages, tmp_path / "metadata")
    assert not (tmp_path / "metadata").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("class_labels.txt", "00.jpg,0", "00.jpg,1", r"00.jpg has label 1, but|folders 0bt_c3"),
        ("image_ids.txt", "test/0bt_c3", f"{FIRST}.jpg\ntest/0bt_c3", r"00.jpg is listed twice"),
        ("image_ids.txt", "test/0bt_c3", "\ntest/x.jpg\ntest/0bt_c3", r"no line in class_label"),
        ("localization.txt", f"{FIRST}_ignore.png", "", rf"{FIRST}.jpg has no ignore mask; add"),
        ("localization.txt", "_ignore.png", "_ignored.png", r"the mask .*_ignored.png does not"),
        ("localization.txt", "_00000014", "_14", r"the mask .*_14.png does not exist"),
    ],
)
def test_faults_of_the_benchmarks_lists_are_named(openimages, tmp_path, file, old, new, message):
    metadata = layouts.openimages_metadata(tmp_path / "benchmark", openimages)
    path = metadata / "test" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        prepared(openimages, tmp_path, OpenImagesReader(metadata)).setup()


def test_a_damaged_mask_is_named(openimages, tmp_path):
    (openimages / f"{FIRST}_m0bt_c3_00000014.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = prepared(openimages, tmp_path, OpenImagesReader())
    with pytest.raises(DataError, match=r"localization.txt, line \d: .*_00000014.png does"):
        data.setup("test")


def test_metadata_of_the_benchmark_is_not_overwritten(openimages, tmp_path):
    metadata = layouts.openimages_metadata(tmp_path / "benchmark", openimages)
    with pytest.raises(DataError, match="the OpenImages reader has not written"):
        OpenImagesReader().prepare(openimages, metadata)
