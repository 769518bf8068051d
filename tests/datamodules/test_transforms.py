from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from learned_saliency.datamodules import DataError, decoding
from learned_saliency.datamodules.resampling import Window
from learned_saliency.datamodules.transforms import (
    cut_window,
    drawn_window,
    read_resized,
    read_window,
    scale_boxes,
    standardize,
)
from tests.support.paths import GOLDEN


def _pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_scaled_boxes_equal_the_published_ones():
    golden = np.load(GOLDEN / "boxes.npz")
    boxes = torch.from_numpy(golden["gt_boxes"]).long()
    sizes = torch.from_numpy(golden["image_sizes"][golden["gt_boxes_image"]]).long()
    expected = torch.from_numpy(golden["gt_boxes_224"]).long()
    torch.testing.assert_close(scale_boxes(boxes, sizes, 224), expected, rtol=0, atol=0)


def test_scaling_boxes_truncates_like_floating_point_arithmetic():
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 3000, (2000, 2))
    boxes = generator.integers(0, np.tile(sizes, 2) + 1)
    expected = (boxes.astype(np.float64) * 224 / np.tile(sizes, 2)).astype(np.int64)
    scaled = scale_boxes(torch.from_numpy(boxes), torch.from_numpy(sizes), 224)
    torch.testing.assert_close(scaled, torch.from_numpy(expected), rtol=0, atol=0)
    with pytest.raises(ValueError, match="expected boxes"):
        scale_boxes(torch.zeros(3, 5).long(), torch.ones(3, 2).long(), 224)


@pytest.mark.parametrize("size", [7, 23, 64])
def test_images_are_resized_as_torchvision_resizes_pillow_images(tmp_path, size):
    image = Image.fromarray(_pixels(31, 45, 3))
    image.save(tmp_path / "a.png")
    expected = functional.pil_to_tensor(functional.resize(image, [size, size]))
    torch.testing.assert_close(read_resized(tmp_path / "a.png", size), expected)


def test_fast_reading_decodes_large_images_at_a_smaller_scale(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(decoding, "decode_jpeg", lambda data, factor: asked.append(factor))
    window = Window(1, 2, 6, 5)
    for sides in ((112, 90), (111, 300), (56, 600), (28, 28), (27, 27), (8, 8), (5, 9)):
        Image.fromarray(_pixels(*sides, 3)).save(tmp_path / "a.jpg")
        assert read_window(tmp_path / "a.jpg", 20, window, fast=True).shape == (3, 5, 6)
    # no side becomes shorter than 0.7 x 20 pixels
    assert asked == [4, 4, 4, 2, 1, 1, 1]
    read_window(tmp_path / "a.jpg", 20, window)
    assert asked[-1] == 1


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("sides", [(30, 50), (95, 80), (200, 333)])
def test_fast_reading_keeps_place_and_direction(tmp_path, kind, sides):
    blotches = Image.fromarray(_pixels(4, 3, 3)).resize(sides, Image.Resampling.BICUBIC)
    blotches.save(tmp_path / f"a.{kind}", quality=95)
    window = Window(3, 11, 25, 20, mirrored=True)
    exact, fast = (read_window(tmp_path / f"a.{kind}", 40, window, fast=fast) for fast in (0, 1))
    whole = read_resized(tmp_path / f"a.{kind}", 40)
    torch.testing.assert_close(exact, whole[:, 11:31, 3:28].flip(-1), rtol=0, atol=0)
    assert (fast.int() - exact.int()).abs().float().mean() < 5


def test_missing_and_broken_images_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.png: the image is missing"):
        read_resized(tmp_path / "absent.png", 8)
    Image.fromarray(_pixels(64, 64, 3)).save(tmp_path / "cut.jpg")
    data = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut\.jpg: the image does not decode"):
        read_resized(tmp_path / "cut.jpg", 8)


def test_crop_and_flip_follow_the_bits_of_the_draws():
    image = torch.from_numpy(_pixels(3, 9, 9))
    for top, left, flip in ((0, 0, 0), (4, 1, 1), (2, 4, 0), (3, 3, 1)):  # 5 places each
        draw = (left + 5 * 99) << 32 | (top + 5 * 7) << 1 | flip
        expected = image[:, top : top + 5, left : left + 5]
        crop = cut_window(image, drawn_window(draw, 9, 5))
        torch.testing.assert_close(crop, expected.flip(-1) if flip else expected)


def test_every_crop_and_both_flips_are_equally_likely():
    draws = np.random.default_rng(0).integers(0, 2**63 - 1, 18000)
    counts = Counter(drawn_window(int(draw), 6, 4) for draw in draws)
    assert len(counts) == 18  # 3 x 3 places, two directions
    # each expected 1000 times, with a standard deviation of 31
    assert all(abs(count - 1000) < 130 for count in counts.values())


def test_crop_refuses_images_smaller_than_itself():
    with pytest.raises(ValueError, match="a crop of at most 4 pixels, got 5"):
        drawn_window(0, 4, 5)


def test_normalize_agrees_with_torchvision():
    images = torch.from_numpy(_pixels(4, 3, 5, 5))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = functional.normalize(images / 255, mean, std)
    before = images.clone()
    result = standardize(images, torch.tensor(mean), torch.tensor(std))
    # the order of the operations differs by one rounding
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(images, before)
