"""Evaluation images whose shorter edge is resized before the crop, as torchvision's evaluators."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from learned_saliency.datamodules import WSOLDataModule, read_resized
from learned_saliency.datamodules.masks import read_mask
from learned_saliency.datamodules.transforms import placement, scale_boxes

SIZES = [(60, 40), (40, 60), (53, 37), (37, 91), (200, 41), (33, 33), (31, 47), (300, 225)]


@pytest.mark.parametrize(("resize", "crop"), [(32, 28), (33, 28), (35, 28), (28, 28), (256, 224)])
def test_pixels_equal_torchvisions_to_the_bit(tmp_path, resize, crop):
    generator = np.random.default_rng(0)
    theirs = Compose([Resize(resize), CenterCrop(crop), PILToTensor()])
    for width, height in SIZES:
        image = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image.save(tmp_path / "image.png")
        assert torch.equal(read_resized(tmp_path / "image.png", crop, resize), theirs(image))


def test_null_leaves_the_crop_of_before():
    assert placement(61, 40, 30, True) == ((45, 30), (7, 0))
    assert placement(61, 40, 30, 30) == ((45, 30), (8, 0))  # torchvision rounds, to the even one
    assert placement(61, 40, 30, False) == ((30, 30), (0, 0))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_boxes_and_masks_move_with_the_pixels(tmp_path, width, height):
    x0, y0, x1, y1 = width // 3, height // 3, 2 * width // 3, 2 * height // 3
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    inside = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
    for name, values in (("mask", inside), ("image", inside)):
        picture = Image.fromarray(values.astype(np.uint8) * 255)
        (picture if name == "mask" else picture.convert("RGB")).save(tmp_path / f"{name}.png")
    size, resize = 24, 29
    pixels = read_resized(tmp_path / "image.png", size, resize)[0] > 127
    mask = read_mask([tmp_path / "mask.png"], [], size, resize) > 0
    boxes = torch.tensor([[x0, y0, x1, y1]])
    (box,) = scale_boxes(boxes, torch.tensor([[width, height]]), size, resize)
    seen = box.clamp(0, size).tolist()
    for found in (pixels, mask):
        found = found.nonzero()
        ends = torch.cat([found.amin(0).flip(0), found.amax(0).flip(0) + 1])
        # boxes are truncated, and each pixel of a strongly reduced image blurs over the edge
        torch.testing.assert_close(ends, torch.tensor(seen), rtol=0, atol=1)


def test_the_data_module_resizes_first(tiny):
    folder = tiny()

    def batch(**options):
        sides = {"resize_size": 8, "crop_size": 6}
        data = WSOLDataModule(folder, folder / "metadata", **sides, **options)
        data.setup("test")
        return data.evaluated_middle, next(iter(data.dataloader("test")))

    middle, first = batch(evaluation_resize=7)
    assert middle == 7
    assert first["image"].shape[-2:] == (6, 6)
    assert not torch.equal(first["image"], batch(center_crop=True)[1]["image"])
    assert batch(evaluation_resize=7, center_crop=True)[0] == 7
    assert batch()[0] is False
    with pytest.raises(ValueError, match="evaluation_resize of at least crop_size, got 5 < 6"):
        batch(evaluation_resize=5)
