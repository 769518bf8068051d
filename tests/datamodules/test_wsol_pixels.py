"""Pixels that training sees: crops, fast decoding, augmentation."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from tests.support.tiny import tiny_data, train_images


def _photographs(folder):
    """Write JPEGs of several sizes in place of the images."""
    generator = np.random.default_rng(0)
    for number, path in enumerate(sorted((folder / "train").glob("*.png"))):
        colors = generator.integers(0, 256, (6, 5, 3), dtype=np.uint8)
        image = Image.fromarray(colors).resize((60 + 30 * number, 200 - 11 * number))
        image.save(path, "JPEG", quality=90)


def test_training_crops_are_those_of_pillow_and_torchvision(tiny):
    folder = tiny()
    _photographs(folder)
    data = tiny_data(folder, resize_size=40, crop_size=32)
    data.setup("fit")
    loader = data.train_dataloader()
    draws = dict(iter(loader.sampler))
    for batch in loader:
        for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            stored = Image.open(folder / f"train/{index}.png").convert("RGB")
            resized = functional.pil_to_tensor(functional.resize(stored, [40, 40]))
            top, left = (draws[index] >> 1 & 0x7FFFFFFF) % 9, (draws[index] >> 32) % 9
            crop = resized[:, top : top + 32, left : left + 32].float()
            mean, std = (255 * torch.tensor(v)[:, None, None] for v in (data.mean, data.std))
            expected = (crop.flip(-1) if draws[index] & 1 else crop).sub(mean).div(std)
            torch.testing.assert_close(image, expected, rtol=0, atol=0)


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_fast_decoding_changes_training_images_a_little_and_no_other(tiny, tmp_path, cache):
    folder = tiny()
    _photographs(folder)
    options = {"resize_size": 40, "crop_size": 32, "cache_folder": tmp_path / "kept"}
    exact, fast = (
        tiny_data(folder, **options, **more) for more in ({}, {"fast_decode": True, "cache": cache})
    )
    for data in (exact, fast):
        data.setup("fit")
    expected, found = train_images(exact), train_images(fast)
    differences = [(found[name] - expected[name]).abs().mean() for name in expected]
    assert 0 < max(differences) < 0.15  # about 9 levels
    for images, others in zip(fast.dataloader("train"), exact.dataloader("train"), strict=True):
        torch.testing.assert_close(images["image"], others["image"], rtol=0, atol=0)


@pytest.mark.parametrize("center_crop", [False, True])
@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_images_are_prepared_alike_for_training_and_evaluation_without_augmentation(
    tiny, tmp_path, cache, center_crop
):
    options = {"augment": False, "cache": cache, "cache_folder": tmp_path / "kept"}
    data = tiny_data(tiny(), center_crop=center_crop, **options)
    data.setup("fit")
    expected = {}
    for batch in data.dataloader("train"):
        expected |= dict(zip(batch["image_id"], batch["image"], strict=True))
    orders = [train_images(data, epoch) for epoch in range(2)]
    for found in orders:
        assert found.keys() == expected.keys()
        for name, image in found.items():
            torch.testing.assert_close(image, expected[name], rtol=0, atol=0)
    augmented = tiny_data(data.root)
    augmented.setup("fit")
    assert [list(found) for found in orders] == [
        list(train_images(augmented, epoch)) for epoch in range(2)
    ]
    assert set(next(iter(data.train_dataloader()))) == {"image", "label", "image_id", "index"}


@pytest.mark.parametrize("center_crop", [False, True])
def test_fast_decoding_without_augmentation_changes_training_images_a_little(tiny, center_crop):
    folder = tiny()
    _photographs(folder)
    options = {"augment": False, "resize_size": 40, "crop_size": 32, "center_crop": center_crop}
    exact, fast = (tiny_data(folder, **options, fast_decode=wanted) for wanted in (False, True))
    for data in (exact, fast):
        data.setup("fit")
    expected, found = train_images(exact), train_images(fast)
    differences = [(found[name] - expected[name]).abs().mean() for name in expected]
    assert 0 < max(differences) < 0.15
    for images, others in zip(fast.dataloader("train"), exact.dataloader("train"), strict=True):
        torch.testing.assert_close(images["image"], others["image"], rtol=0, atol=0)


def test_augmentation_changes_with_epoch_and_seed(tiny):
    data = tiny_data(tiny(), resize_size=12, crop_size=4)
    data.setup("fit")
    first, second = train_images(data), train_images(data, epoch=1)
    same = [torch.equal(first[key], second[key]) for key in first]
    # 162 crops are possible
    assert sum(same) < 3
    other = tiny_data(data.root, resize_size=12, crop_size=4, seed=1)
    other.setup("fit")
    other = train_images(other)
    assert sum(torch.equal(first[key], other[key]) for key in first) < 3
