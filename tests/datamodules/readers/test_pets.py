"""The Oxford-IIIT Pets from a miniature of their download: trimaps, lists, and faults."""

import numpy as np
import pytest
from PIL import Image

from learned_saliency.datamodules import DataError, PetsReader, WSOLDataModule
from learned_saliency.datamodules.metadata import read_split
from tests.support import layouts
from tests.support.layouts import BREEDS


@pytest.fixture
def pets(tmp_path):
    return layouts.pets(tmp_path)


def prepared(pets, tmp_path, **options):
    reader = PetsReader(**({"val_per_class": 1} | options))
    sizes = {"resize_size": 40, "crop_size": 40, "batch_size": 4}
    data = WSOLDataModule(pets, tmp_path / "metadata", reader=reader, **sizes)
    data.prepare_data()
    return data


def test_trimaps_become_masks_with_an_ignored_border_and_tight_boxes(pets, tmp_path):
    """By hand: object in rows 5 to 24 and columns 10 to 29, border of 2 around, 40 x 30 pixels."""
    data = prepared(pets, tmp_path)
    data.setup()
    assert data.class_names == list(BREEDS)
    assert [data.has_masks(split) for split in ("train", "val", "test")] == [False, True, True]
    (batch,) = data.test_dataloader()
    assert batch["image_id"] == [f"images/{breed}_{i}.jpg" for breed in BREEDS for i in (5, 6)]
    assert batch["label"].tolist() == [0, 0, 1, 1]
    rows = np.arange(40) * 30 // 40
    expected = np.zeros((40, 40), np.uint8)
    expected[(rows >= 3) & (rows < 27), 8:32] = 255
    expected[(rows >= 5) & (rows < 25), 10:30] = 1
    assert (batch["mask"].numpy() == expected).all()
    # smallest box of object and border: 8,3,31,26, scaled from 30 rows to 40
    assert as_lists(batch["boxes"]) == [[[8, 4, 31, 34]]] * 4
    split = read_split(tmp_path / "metadata" / "test", localization=True)
    assert split.boxes.tolist() == [[8, 3, 31, 26]] * 4
    assert split.sizes.tolist() == [[40, 30]] * 4


def as_lists(boxes):
    return [box.tolist() for box in boxes]


def test_val_is_drawn_from_trainval_and_unlisted_files_stay_out(pets, tmp_path):
    listed = {f"images/{breed}_{i}.jpg" for breed in BREEDS for i in range(1, 5)}
    drawn = set()
    for seed in range(4):
        folder = tmp_path / str(seed)
        PetsReader(val_per_class=2, seed=seed).prepare(pets, folder)
        train = read_split(folder / "train", localization=False)
        val = read_split(folder / "val", localization=True)
        assert sorted(val.labels) == sorted(train.labels) == [0, 0, 1, 1]
        assert {*val.image_ids, *train.image_ids} == listed
        drawn.add(tuple(val.image_ids))
    assert len(drawn) > 1


def test_an_image_of_another_format_than_its_name_is_read(pets, tmp_path):
    with Image.open(pets / "images" / "Abyssinian_1.jpg") as image:
        assert image.format == "GIF"
    data = prepared(pets, tmp_path)
    data.setup("fit")
    assert sum(len(batch["image_id"]) for batch in data.dataloader("train")) == 6


def test_counts_are_published_less_what_is_set_aside():
    counts = PetsReader(val_per_class=10).published
    assert [counts[split].images for split in ("train", "val", "test")] == [3310, 370, 3669]
    assert counts["test"].classes == 37


def test_the_parts_of_the_download_are_where_they_are_looked_for(pets):
    assert all((pets / source.path).exists() for source in PetsReader.sources)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "test.txt",
            None,
            None,
            r"pet: not the unpacked .* \(no annotations/test.txt",
        ),
        (
            "test.txt",
            "Abyssinian_5 1 1 1",
            "Abyssinian_5 1",
            r"test.txt, line 1: expected `image",
        ),
        (
            "test.txt",
            "Abyssinian_5 1",
            "Abyssinian_5 2",
            r"line 1: Abyssinian_5 has class 2",
        ),
        (
            "test.txt",
            "Abyssinian_6",
            "Abyssinian_5",
            r"line 2: Abyssinian_5 is listed tw",
        ),
        (
            "test.txt",
            "Abyssinian_6",
            "Abyssinian_2",
            r"line 2: Abyssinian_2 is listed tw",
        ),
        ("test.txt", "Abyssinian_6", "Abyssinian_7", r"Abyssinian_7.jpg: the image cannot"),
    ],
)
def test_faults_of_the_lists_are_named(pets, tmp_path, file, old, new, message):
    path = pets / "annotations" / file
    text = path.read_text()
    path.unlink()
    if old is not None:
        assert old in text
        path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        prepared(pets, tmp_path)
    assert not (tmp_path / "metadata").exists()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (None, r"Abyssinian_5.png: the trimap is missing"),
        (b"\x89PNG\r\n\x1a\nshort", r"Abyssinian_5.png: the trimap does not decode"),
        (
            np.full((30, 41), 1, np.uint8),
            r"5.png: the trimap has 41x30 pixels, its im",
        ),
        (
            np.full((30, 40), 4, np.uint8),
            r"5.png: the trimap has other values than 1",
        ),
        (np.full((30, 40), 2, np.uint8), r"Abyssinian_5.png: the trimap is all background"),
    ],
)
def test_faults_of_a_trimap_are_named(pets, tmp_path, pixels, message):
    path = pets / "annotations" / "trimaps" / "Abyssinian_5.png"
    path.unlink()
    if isinstance(pixels, bytes):
        path.write_bytes(pixels)
    elif pixels is not None:
        Image.fromarray(pixels).save(path)
    with pytest.raises(DataError, match=message):
        prepared(pets, tmp_path)


def test_a_missing_training_image_is_named(pets, tmp_path):
    data = prepared(pets, tmp_path, seed=1)
    gone = read_split(tmp_path / "metadata" / "train", localization=False).image_ids[0]
    (pets / gone).unlink()
    with pytest.raises(DataError, match=rf"image_ids.txt, line 1: .*{gone} does not exist"):
        data.setup("fit")
