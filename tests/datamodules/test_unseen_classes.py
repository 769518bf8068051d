"""Training on some classes, and evaluation images that keep their aspect ratio."""

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import DataError, WSOLDataModule
from learned_saliency.datamodules.masks import read_mask
from learned_saliency.datamodules.transforms import read_resized, scale_boxes


def make(folder, **options):
    data = WSOLDataModule(
        folder, folder / "metadata", resize_size=12, crop_size=10, batch_size=4, **options
    )
    data.setup()
    return data


def everything(loader):
    return {
        image_id: {key: value[i] for key, value in batch.items()}
        for batch in loader
        for i, image_id in enumerate(batch["image_id"])
    }


def test_training_and_choice_see_chosen_classes_alone_and_test_sees_all(tiny):
    folder = tiny()
    whole, part = make(folder), make(folder, classes=[0, 2])
    assert part.num_classes == whole.num_classes == 3
    for split, count in (("train", 11), ("val", 5), ("test", 7)):
        labels = {f"{split}/{i}.png": i % 3 for i in range(count)}
        found = everything(part.dataloader(split))
        kept = {k for k, v in labels.items() if v != 1 or split == "test"}
        assert set(found) == kept
        expected = everything(whole.dataloader(split))
        for image_id, item in found.items():
            assert int(item["label"]) == labels[image_id]
            if split == "test":
                assert bool(item.pop("seen")) == (labels[image_id] != 1)
            assert set(item) == set(expected[image_id])
            for key in set(item) - {"image_id", "index"}:
                torch.testing.assert_close(item[key], expected[image_id][key], rtol=0, atol=0)
    drawn = {int(label) for batch in part.train_dataloader() for label in batch["label"]}
    assert drawn == {0, 2}
    assert part.supervision("val") == {"split": "val", "images": 3, "boxes": 3, "masks": 0}


def test_all_classes_need_no_seen(tiny):
    assert "seen" not in next(iter(make(tiny()).dataloader("test")))


@pytest.mark.parametrize(
    ("classes", "told"), [([3], "3 is no label"), ([-1], "-1 is no"), ([], "nothing is no label")]
)
def test_classes_that_do_not_exist_are_named(tiny, classes, told):
    with pytest.raises(DataError, match=told):
        make(tiny(), classes=classes)


def test_a_split_without_the_chosen_classes_is_named(tiny):
    folder = tiny()
    path = folder / "metadata" / "val" / "class_labels.txt"
    path.write_text("".join(f"val/{i}.png,0\n" for i in range(5)))
    with pytest.raises(DataError, match=r"class_labels.txt: no image is of the classes \[1, 2\]"):
        make(folder, classes=[1, 2])


@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (333, 200), (200, 200)])
def test_the_middle_square_keeps_the_aspect_ratio_of_image_mask_and_boxes(tmp_path, width, height):
    """A gradient along both axes and a rectangle, found again where the arithmetic puts them."""
    x0, y0, x1, y1 = width // 2 - 40, height // 2 - 30, width // 2 + 50, height // 2 + 20
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    colors = np.zeros((height, width, 3), np.uint8)
    colors[..., 0], colors[..., 1] = columns * 255 // width, rows * 255 // height
    Image.fromarray(colors).save(tmp_path / "image.png")
    mask = ((columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)).astype(np.uint8) * 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    size, scale = 100, 100 / min(width, height)
    left, top = (width * scale - size) / 2, (height * scale - size) / 2

    image = read_resized(tmp_path / "image.png", size, center_crop=True).float()
    assert image.shape == (3, size, size)
    middle = torch.arange(size) + 0.5
    expected = (middle + left) / (width * scale) * 255
    torch.testing.assert_close(image[0, 50], expected, rtol=0, atol=4)
    expected = (middle + top) / (height * scale) * 255
    torch.testing.assert_close(image[1, :, 50], expected, rtol=0, atol=4)

    found = read_mask([tmp_path / "mask.png"], [], size, center_crop=True).nonzero()
    box = torch.tensor([[x0, y0, x1, y1]])
    scaled = scale_boxes(box, torch.tensor([[width, height]]), size, center_crop=True)[0]
    exact = torch.tensor([x0 * scale - left, y0 * scale - top, x1 * scale - left, y1 * scale - top])
    torch.testing.assert_close(scaled.float(), exact, rtol=0, atol=1.5)
    edges = torch.cat([found.amin(0).flip(0), found.amax(0).flip(0) + 1])
    torch.testing.assert_close(edges, scaled, rtol=0, atol=2)


def test_boxes_reach_beyond_what_the_middle_square_shows():
    box, size = torch.tensor([[0, 10, 400, 190]]), torch.tensor([[400, 200]])
    found = scale_boxes(box, size, 100, center_crop=True)
    assert found.tolist() == [[-50, 5, 150, 95]]
    assert scale_boxes(box, size, 100).tolist() == [[0, 5, 100, 95]]


def test_square_images_are_the_same_under_both_policies(tmp_path):
    generator = np.random.default_rng(0)
    colors = generator.integers(0, 256, (50, 50, 3), dtype=np.uint8)
    Image.fromarray(colors).save(tmp_path / "image.png")
    kept, resized = (read_resized(tmp_path / "image.png", 20, crop) for crop in (True, False))
    torch.testing.assert_close(kept, resized, rtol=0, atol=0)


def test_the_data_module_cuts_evaluation_images_alone(tiny):
    folder = tiny()
    cut, plain = make(folder, center_crop=True), make(folder)
    ours, theirs = (next(iter(d.dataloader("test"))) for d in (cut, plain))
    assert ours["image"].shape == theirs["image"].shape
    assert not torch.equal(ours["image"], theirs["image"])  # 12x10 pixels: the square is narrower
    assert ours["boxes"][0].tolist() == [[-1, 1, 3, 8]]
    first, second = (next(iter(d.train_dataloader())) for d in (cut, plain))
    torch.testing.assert_close(first["image"], second["image"], rtol=0, atol=0)
