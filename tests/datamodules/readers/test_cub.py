import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import CUBReader, DataError, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split

CLASSES = ("001.Black_footed_Albatross", "002.Crow")


@pytest.fixture
def cub(tmp_path):
    """A download of 2 classes with 4 training and 2 test images each, 50x40 pixels."""
    root = tmp_path / "CUB_200_2011"
    rows = {name: [] for name in ("images", "image_class_labels", "train_test_split")}
    boxes = []
    for i in range(12):
        name = f"{CLASSES[i % 2]}/{i}.jpg"
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (i, i, i)).save(path)
        rows["images"].append(f"{i + 1} {name}")
        rows["image_class_labels"].append(f"{i + 1} {i % 2 + 1}")
        rows["train_test_split"].append(f"{i + 1} {int(i < 8)}")
        boxes.append(f"{i + 1} {i}.0 2.7 20.6 30.4")
    boxes[11] = "12 10.0 5.0 40.0 35.0"  # ends at the width and height
    for name, lines in {**rows, "bounding_boxes": boxes}.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "classes.txt").write_text("".join(f"{i + 1} {n}\n" for i, n in enumerate(CLASSES)))
    return root


def _splits(folder):
    return {s: read_split(folder / s, localization=True) for s in ("train", "val", "test")}


def test_official_test_split_and_boxes_are_the_benchmarks(cub, tmp_path):
    CUBReader(val_per_class=1).prepare(cub, tmp_path / "metadata")
    test = _splits(tmp_path / "metadata")["test"]
    assert test.image_ids == [f"images/{CLASSES[i % 2]}/{i}.jpg" for i in range(8, 12)]
    assert test.labels.tolist() == [0, 1, 0, 1]
    assert test.sizes.tolist() == [[50, 40]] * 4
    # int(x), int(y), int(x + w), int(y + h): 8 + 20.6, 2.7 + 30.4
    assert test.boxes.tolist()[0] == [8, 2, 28, 33]
    assert test.boxes.tolist()[3] == [10, 5, 49, 39]


def test_validation_images_are_drawn_from_the_training_split_by_seed(cub, tmp_path):
    drawn = []
    for seed in range(6):
        folder = tmp_path / str(seed)
        CUBReader(val_per_class=2, seed=seed).prepare(cub, folder)
        splits = _splits(folder)
        assert sorted(splits["val"].labels) == [0, 0, 1, 1]
        official = {f"images/{CLASSES[i % 2]}/{i}.jpg" for i in range(8)}
        assert set(splits["val"].image_ids) | set(splits["train"].image_ids) == official
        assert len(splits["val"]) == len(splits["train"]) == 4
        drawn.append(tuple(splits["val"].image_ids))
    assert len(set(drawn)) > 1
    CUBReader(val_per_class=2, seed=3).prepare(cub, tmp_path / "again")
    assert tuple(_splits(tmp_path / "again")["val"].image_ids) == drawn[3]


@pytest.mark.parametrize("place", ["images", "elsewhere"])
def test_cubv2_becomes_the_validation_split_and_training_keeps_all(cub, tmp_path, place):
    v2 = tmp_path / "v2"
    v2.mkdir()
    (v2 / "image_ids.txt").write_text(f"{CLASSES[1]}/77.jpg\n")
    (v2 / "class_labels.txt").write_text(f"{CLASSES[1]}/77.jpg,1\n")
    (v2 / "image_sizes.txt").write_text(f"{CLASSES[1]}/77.jpg,30,20\n")
    (v2 / "localization.txt").write_text(f"{CLASSES[1]}/77.jpg,1,2,3,4\n")
    images = cub / "images" if place == "images" else tmp_path / "elsewhere"
    (images / CLASSES[1]).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(images / CLASSES[1] / "77.jpg")
    reader = CUBReader(v2, None if place == "images" else images)
    data = WSOLDataModule(
        cub, tmp_path / "metadata", reader=reader, resize_size=16, crop_size=16, batch_size=3
    )
    data.prepare_data()
    data.setup("fit")
    assert [data.supervision(s)["images"] for s in ("train", "val", "test")] == [8, 1, 4]
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [1]
    assert batch["boxes"][0].tolist() == [[16 // 30, 2 * 16 // 20, 3 * 16 // 30, 4 * 16 // 20]]


def test_names_come_from_the_download(cub, tmp_path):
    data = WSOLDataModule(cub, tmp_path / "metadata", reader=CUBReader(val_per_class=1))
    data.prepare_data()
    data.setup()
    assert data.class_names == ["Black_footed_Albatross", "Crow"]
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
        ("classes", "2 002.Crow", "", r"class 2 of image 2 is not in classes.txt"),
        ("bounding_boxes", "3 2.0 2.7 20.6 30.4", "", r"bounding_boxes.txt: no line for image 3"),
        ("bounding_boxes", "3 2.0 2.7", "3 2.7", r"bounding_boxes.txt, line 3: expected `image_id"),
        ("bounding_boxes", "3 2.0 2.7", "3 a 2.7", r"bounding_boxes.txt: could not convert"),
        ("train_test_split", "3 1", "3", r"train_test_split.txt, line 3: expected `image_id is"),
        ("images", "/5.jpg", "/55.jpg", r"images.txt, line 6: the image .*55.jpg cannot be read"),
    ],
)
def test_incomplete_downloads_are_named_and_leave_nothing(cub, tmp_path, name, old, new, message):
    path = cub / f"{name}.txt"
    text = path.read_text()
    path.unlink()
    if old is not None:
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
