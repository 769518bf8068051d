"""CUB-200-2011 from a miniature of its download: float boxes, masks, CUBV2, and faults."""

import numpy as np
import pytest

from learned_saliency.datamodules import CUBParts, CUBReader, DataError, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support import layouts
from tests.support.layouts import BIRDS


@pytest.fixture
def cub(tmp_path):
    return layouts.cub(tmp_path, segmentations=False)


def image(i):
    """Id of the image with this place in the list."""
    return f"images/{BIRDS[i % 2]}/Bird_{i:04}_{100 + i}.jpg"


def _splits(folder):
    return {s: read_split(folder / s, localization=True) for s in ("train", "val", "test")}


def test_official_test_split_and_boxes_are_the_benchmarks(cub, tmp_path):
    CUBReader(val_per_class=1).prepare(cub, tmp_path / "metadata")
    test = _splits(tmp_path / "metadata")["test"]
    assert test.image_ids == [image(i) for i in range(8, 12)]
    assert test.labels.tolist() == [0, 1, 0, 1]
    assert test.sizes.tolist() == [[50, 40]] * 4
    # int(x), int(y), int(x + w), int(y + h): 10 + 20.6, 2.7 + 30.4
    assert test.boxes.tolist()[0] == [10, 2, 30, 33]
    assert test.boxes.tolist()[3] == [10, 5, 49, 39]


def test_validation_images_are_drawn_from_the_training_split_by_seed(cub, tmp_path):
    drawn = []
    for seed in range(6):
        folder = tmp_path / str(seed)
        CUBReader(val_per_class=2, seed=seed).prepare(cub, folder)
        splits = _splits(folder)
        assert sorted(splits["val"].labels) == [0, 0, 1, 1]
        official = {image(i) for i in range(8)}
        assert set(splits["val"].image_ids) | set(splits["train"].image_ids) == official
        assert len(splits["val"]) == len(splits["train"]) == 4
        drawn.append(tuple(splits["val"].image_ids))
    assert len(set(drawn)) > 1
    CUBReader(val_per_class=2, seed=3).prepare(cub, tmp_path / "again")
    assert tuple(_splits(tmp_path / "again")["val"].image_ids) == drawn[3]


@pytest.mark.parametrize("place", ["images", "elsewhere"])
def test_cubv2_becomes_the_validation_split_and_training_keeps_all(cub, tmp_path, place):
    images = cub / "images" if place == "images" else tmp_path / "elsewhere"
    metadata = layouts.cubv2(tmp_path / "benchmark", images)
    reader = CUBReader(metadata, None if place == "images" else images)
    data = WSOLDataModule(
        cub, tmp_path / "metadata", reader=reader, resize_size=16, crop_size=16, batch_size=3
    )
    data.prepare_data()
    data.setup("fit")
    assert [data.supervision(s)["images"] for s in ("train", "val", "test")] == [8, 2, 4]
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [0, 1]
    # 1,2,23,14 and 2,2,23,14 of 30 x 20 pixels, scaled to 16 and truncated
    assert [box.tolist() for box in batch["boxes"]] == [[[0, 1, 12, 11]], [[1, 1, 12, 11]]]


def test_cubv2_that_is_not_there_is_named(cub, tmp_path):
    metadata = layouts.cubv2(tmp_path / "benchmark", tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"4000\.jpg: this image of CUBV2 is missing; unpack"):
        CUBReader(metadata).prepare(cub, tmp_path / "metadata")
    with pytest.raises(DataError, match=r"nowhere: not the benchmark's folder metadata/CUB/val"):
        CUBReader(tmp_path / "nowhere").prepare(cub, tmp_path / "metadata")


def test_masks_hold_what_half_of_the_annotators_marked(cub, tmp_path):
    """By hand, at the file's own width: image 8 has its bird in columns 10 to 30, rows 2 to 33."""
    CUBReader(val_per_class=1).prepare(cub, tmp_path / "metadata")
    assert _splits(tmp_path / "metadata")["test"].mask_paths is None
    layouts.cub(tmp_path)  # the separate download arrives
    reader = CUBReader(val_per_class=1)
    options = {"resize_size": 50, "crop_size": 50, "batch_size": 4}
    data = WSOLDataModule(cub, tmp_path / "metadata", reader=reader, **options)
    data.prepare_data()
    data.setup()
    assert [data.has_masks(split) for split in ("train", "val", "test")] == [False, True, True]
    (batch,) = data.test_dataloader()
    expected = np.zeros((50, 50), np.uint8)
    rows = np.arange(50) * 40 // 50
    expected[(rows >= 2) & (rows < 34), 10:31] = 1  # not column 9, which two of five marked
    assert (batch["mask"][0].numpy() == expected).all()
    assert batch["boxes"][0].tolist() == [[10, 2 * 50 // 40, 30, 33 * 50 // 40]]


def test_masks_are_not_read_in_training_and_missing_ones_are_named(tmp_path):
    root = layouts.cub(tmp_path)
    (root / mask_of(8)).unlink()
    data = WSOLDataModule(root, tmp_path / "metadata", reader=CUBReader(val_per_class=1))
    data.prepare_data()
    with pytest.raises(DataError, match=r"masks.txt, line 1: .*Bird_0008_108.png does not"):
        data.setup("test")
    assert not (tmp_path / "metadata" / "train" / "masks.txt").exists()


def mask_of(i):
    return image(i).replace("images/", "segmentations/").replace(".jpg", ".png")


def test_a_damaged_mask_is_named(tmp_path):
    root = layouts.cub(tmp_path)
    (root / mask_of(9)).write_bytes(b"\x89PNG\r\n\x1a\nshort")
    data = WSOLDataModule(root, tmp_path / "metadata", reader=CUBReader(val_per_class=1))
    data.prepare_data()
    with pytest.raises(DataError, match=r"line 2: the mask .*Bird_0009_109.png does not decode"):
        data.setup("test")


def test_published_counts_follow_what_is_set_aside(cub, tmp_path):
    drawn = CUBReader(val_per_class=5).published
    assert [drawn[s].images for s in ("train", "val", "test")] == [4994, 1000, 5794]
    benchmark = CUBReader(tmp_path).published
    assert [benchmark[s].images for s in ("train", "val", "test")] == [5994, 1000, 5794]
    needed = [source for source in CUBReader().sources if source.required]
    assert all((cub / source.path).exists() for source in needed)
    (cubv2,) = [s for s in CUBReader(tmp_path).sources if s.path == str(tmp_path)]
    assert cubv2.required


def test_parts_and_attributes_of_the_download_are_read(tmp_path):
    root = layouts.cub(tmp_path, parts=True)
    parts = CUBParts(root)
    assert [(pair.first, pair.second, pair.parts) for pair in parts.pairs] == [(0, 1, (1, 7))]
    (tmp_path / "attributes.txt").unlink()
    with pytest.raises(DataError, match=r"attributes.txt: is missing; unpack CUB"):
        CUBParts(root)


def test_names_come_from_the_download(cub, tmp_path):
    data = WSOLDataModule(cub, tmp_path / "metadata", reader=CUBReader(val_per_class=1))
    data.prepare_data()
    data.setup()
    assert data.class_names == ["Black_footed_Albatross", "Laysan_Albatross"]
    assert data.num_classes == 2


def test_metadata_is_written_once_and_replaced_when_settings_change(cub, tmp_path):
    folder = tmp_path / "metadata"
    CUBReader(val_per_class=1).prepare(cub, folder)
    before = (folder / "val" / "image_ids.txt").stat().st_mtime_ns
    CUBReader(val_per_class=1).prepare(cub, folder)
    assert (folder / "val" / "image_ids.txt").stat().st_mtime_ns == before
    CUBReader(val_per_class=3).prepare(cub, folder)
    assert len(_splits(folder)["val"]) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CUB_200_2011", "metadata"]


def test_folders_of_other_origin_are_left_alone(cub, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="the CUB reader has not written"):
        CUBReader().prepare(cub, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("images", None, None, r"CUB_200_2011: not the unpacked folder CUB_200_2011"),
        ("classes", None, None, r"classes.txt: this metadata file is missing"),
        ("classes", "2 002.Laysan_Albatross", "", r"class 2 of image 2 is not in classes.txt"),
        ("bounding_boxes", "3 4.0 2.7 20.6 30.4", "", r"bounding_boxes.txt: no line for image 3"),
        ("bounding_boxes", "3 4.0 2.7", "3 2.7", r"bounding_boxes.txt, line 3: expected `image_id"),
        ("bounding_boxes", "3 4.0 2.7", "3 a 2.7", r"bounding_boxes.txt: could not convert"),
        ("train_test_split", "3 1", "3", r"train_test_split.txt, line 3: expected `image_id is"),
        (
            "images",
            "_105.jpg",
            "_155.jpg",
            r"images.txt, line 6: .*_155.jpg cannot be read",
        ),
        ("images", "all", "", r"images.txt: is empty; unpack"),
        ("images", "4 002", "3 002", r"images.txt, line 4: 3 is listed twice"),
        ("bounding_boxes", "4 5.0 2.7 20.6", "4 5.0 2.7 -3", r"of image 4 is inverted"),
        ("bounding_boxes", "4 5.0 2.7", "4 nan 2.7", r"of image 4 is inverted"),
        ("bounding_boxes", "4 5.0 2.7", "4 50.0 2.7", r"of image 4 lies outside of the image"),
    ],
)
def test_incomplete_downloads_are_named_and_leave_nothing(cub, tmp_path, name, old, new, message):
    path = cub / f"{name}.txt"
    text = path.read_text()
    path.unlink()
    if old is not None:
        old = text if old == "all" else old
        assert old in text
        path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        CUBReader(val_per_class=1).prepare(cub, tmp_path / "metadata")
    assert [path.name for path in tmp_path.iterdir()] == ["CUB_200_2011"]


def test_classes_too_small_to_split_are_named(cub, tmp_path):
    with pytest.raises(DataError, match="class 0 has 4 training images, too few to set 4"):
        CUBReader(val_per_class=4).prepare(cub, tmp_path / "metadata")


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match="val_per_class"):
        CUBReader(val_per_class=0)
    with pytest.raises(ValueError, match="seed"):
        CUBReader(seed=-1)


def test_boxes_reach_no_further_than_the_last_pixel(cub, tmp_path):
    CUBReader(val_per_class=1).prepare(cub, tmp_path / "metadata")
    for split in _splits(tmp_path / "metadata").values():
        assert (split.boxes >= 0).all()
        assert (split.boxes <= np.tile(split.sizes[split.box_images], 2) - 1).all()
