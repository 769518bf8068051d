"""Data modules and readers of images that keep their channels and their depth."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import (
    DataError,
    Decoding,
    FolderReader,
    PhotosReader,
    WSOLDataModule,
    inspect_image,
)
from tests.support.deep_images import write_gray, write_image, write_planes

COUNTS = {"train": 5, "val": 2, "test": 2}


def module(root, channels, **options):
    sizes = {"resize_size": 10, "crop_size": 8, "batch_size": 5, "mean": None, "std": None}
    return WSOLDataModule(root, root / "metadata", channels=channels, **sizes | options)


@pytest.fixture
def gray(tmp_path):
    return write_gray(tmp_path / "gray", COUNTS)


def first_batch(data):
    data.setup()
    data.measure()
    return next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_kept_images_keep_their_depth(gray, tmp_path, cache):
    plain = first_batch(module(gray, 1))
    kept = module(gray, 1, cache=cache, cache_folder=tmp_path / "kept")
    for _ in range(2):  # the second time from the disk
        for batch, wanted in zip(first_batch(kept), plain, strict=True):
            assert batch["image"].shape[1] == 1
            assert torch.equal(batch["image"], wanted["image"])
        kept = module(gray, 1, cache=cache, cache_folder=tmp_path / "kept")
    folders = [path.name for path in (tmp_path / "kept").glob("*")]
    assert all("-1channels-hwc" in name for name in folders)


def test_evaluated_images_are_resized_in_floats(gray):
    data = module(gray, 1, mean=[0.0], std=[1.0], crop_size=8)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    for name, image in zip(batch["image_id"], batch["image"], strict=True):
        values = Image.fromarray(np.asarray(Image.open(gray / name)).astype(np.float32))
        wanted = np.asarray(values.resize((8, 8), Image.Resampling.BILINEAR)) / 65535
        np.testing.assert_allclose(image[0], wanted, rtol=1e-6)


def test_the_middle_of_a_strip_is_the_same_resized_as_a_whole_or_in_part(monkeypatch):
    from learned_saliency.datamodules import resize_pixels, transforms

    strip = np.random.default_rng(0).random((12, 70, 2), np.float32)
    whole = resize_pixels(strip, 6, center_crop=True)
    monkeypatch.setattr(transforms, "_MOST_PIXELS", 1)
    torch.testing.assert_close(
        resize_pixels(strip, 6, center_crop=True), whole, rtol=1e-4, atol=1e-4
    )


def test_options_that_do_not_fit_are_refused(gray):
    for options, told in (
        ({"mean": [0.5] * 3, "std": [0.1] * 3}, "expected 1 means and 1 positive std"),
        ({"mean": [0.5]}, "expected mean and std or neither"),
        ({"fast_decode": True}, "is for 3 channels of 8 bits"),
        ({"shown_channels": [0, 1, 0]}, "three channels from 0 to 0"),
        ({"array_axes": "whc"}, "array_axes of hwc or chw"),
    ):
        with pytest.raises(ValueError, match=told):
            module(gray, 1, **options)


def test_measured_numbers_are_given_once(gray):
    data = module(gray, 1)
    data.setup()
    assert "are those of all 5 training images" in data.measure()
    numbers = data.mean, data.std
    assert data.measure() == ""
    assert (data.mean, data.std) == numbers


def test_a_file_of_another_kind_is_named_by_file_line_and_remedy(gray):
    write_image(gray / "train3.png", np.zeros((48, 48, 4), np.uint8))
    with pytest.raises(
        DataError, match=r"train/image_ids.txt, line 4: .*train3.png has 4 channels,"
    ):
        module(gray, 1).setup()


def folder_of(root, write=write_planes, **options):
    """A folder for each class, of the training images."""
    write(root / "made", {"train": 12, "val": 1, "test": 1}, **options)
    for number in range(12):
        file = next((root / "made").glob(f"train{number}.*"))
        place = root / "photos" / ("dark", "bright")[number % 2] / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        file.rename(place)
    return root / "photos"


@pytest.mark.parametrize("kind", [FolderReader, PhotosReader])
def test_readers_take_arrays_for_images_where_they_keep_their_channels(tmp_path, kind):
    root = folder_of(tmp_path, suffix=".npy")
    kind(channels=4).prepare(root, tmp_path / "metadata")
    found = [(tmp_path / "metadata" / s / "image_ids.txt") for s in ("train", "val", "test")]
    names = [name for file in found for name in file.read_text().split()]
    assert len(names) == 12
    assert all(name.endswith(".npy") for name in names)
    with pytest.raises(DataError, match="holds no images"):
        kind().prepare(root, tmp_path / "others")


def test_settings_of_a_folder_in_colors_are_as_they_were(tmp_path):
    root = folder_of(tmp_path)
    FolderReader().prepare(root, tmp_path / "metadata")
    FolderReader(channels=4).prepare(root, tmp_path / "deep")
    colors, deep = (
        json.loads((tmp_path / name / "folder_reader.json").read_text())
        for name in ("metadata", "deep")
    )
    assert deep == colors | {"channels": 4, "array_axes": "hwc"}


def test_looks_of_images_are_told_apart_by_their_lower_bits(gray):
    decoding = Decoding(channels=1)
    facts = [
        inspect_image(gray / f"train{i}.png", look=True, decode=True, decoding=decoding)
        for i in range(4)
    ]
    assert {fact.form for fact in facts} == {"1 channel, 16-bit"}
    assert len({fact.look for fact in facts}) == 4
    assert not any(fact.problem for fact in facts)
    assert facts[0]._replace(look="", decoded=False) == inspect_image(gray / "train0.png")
