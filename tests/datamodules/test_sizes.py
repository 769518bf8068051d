"""Images, boxes, masks and parts at sizes that are no squares, against brute force."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from learned_saliency.datamodules import (
    CreaturesParts,
    CreaturesRenderer,
    CUBParts,
    RenderedParts,
    Size,
    WSOLDataModule,
    read_resized,
)
from learned_saliency.datamodules.decoding import _reduction
from learned_saliency.datamodules.jpeg import JPEGHeader
from learned_saliency.datamodules.masks import read_mask
from learned_saliency.datamodules.resampling import Window
from learned_saliency.datamodules.transforms import (
    drawn_window,
    placement,
    read_window,
    scale_boxes,
)
from learned_saliency.metrics import LocalizationFloors, MaxBoxAcc, MaxBoxAccV2, PxAP
from tests.datamodules.test_parts import cub  # noqa: F401  (a fixture)
from tests.support.tiny import tiny_data, train_images

GENERATOR = np.random.default_rng(0)
SHAPES = [(60, 40), (40, 60), (53, 37), (37, 91), (200, 41), (33, 33), (31, 47)]  # width, height


@pytest.mark.parametrize("given", [(3, 5), [3, 5]])
def test_a_size_is_a_number_or_a_pair(given):
    assert Size.of(given) == (3, 5)
    assert (Size.of(given).plain, str(Size.of(given))) == ([3, 5], "[3,5]")
    assert Size.of(4) == Size.of([4, 4]) == (4, 4)
    assert (Size.of([4, 4]).plain, str(Size.of(4))) == (4, "4")


@pytest.mark.parametrize("wrong", [[3], [3, 4, 5], []])
def test_other_lists_are_no_size(wrong):
    with pytest.raises(ValueError, match=r"\[height, width\], got \["):
        Size.of(wrong)


def saved(folder, width, height):
    image = Image.fromarray(GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8))
    image.save(folder / "image.png")
    return image


@pytest.mark.parametrize("size", [(30, 18), (18, 30), (30, 30)])
@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_the_middle_is_that_of_the_smallest_image_that_covers_the_size(
    tmp_path, width, height, size
):
    image, (down, across) = saved(tmp_path, width, height), size
    scale = max(Fraction(down, height), Fraction(across, width))
    edges = int(scale * width), int(scale * height)
    left, top = (edges[0] - across) // 2, (edges[1] - down) // 2
    assert placement(width, height, size, True) == (edges, (left, top))
    middle = image.resize(edges, Image.Resampling.BILINEAR)
    middle = middle.crop((left, top, left + across, top + down))
    found = read_resized(tmp_path / "image.png", size, center_crop=True)
    assert torch.equal(found, PILToTensor()(middle))


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_pixels_equal_pillows_and_torchvisions_to_the_bit(tmp_path, width, height):
    image = saved(tmp_path, width, height)
    plain = PILToTensor()(image.resize((18, 30), Image.Resampling.BILINEAR))
    assert torch.equal(read_resized(tmp_path / "image.png", (30, 18)), plain)
    window = Window(3, 7, 11, 20, mirrored=True)
    part = read_window(tmp_path / "image.png", (30, 18), window)
    assert torch.equal(part, plain[:, 7:27, 3:14].flip(-1))
    theirs = Compose([Resize(32), CenterCrop((24, 31)), PILToTensor()])
    assert torch.equal(read_resized(tmp_path / "image.png", (24, 31), 32), theirs(image))


@pytest.mark.parametrize("center_crop", [False, True, 31])
def test_boxes_and_masks_equal_brute_force(tmp_path, center_crop):
    down, across = 30, 18
    for width, height in SHAPES:
        mask = np.zeros((height, width), np.uint8)
        x0, x1 = np.sort(GENERATOR.integers(0, width, 2))
        y0, y1 = np.sort(GENERATOR.integers(0, height, 2))
        mask[y0 : y1 + 1, x0 : x1 + 1] = 1
        Image.fromarray(mask * 255).save(tmp_path / "mask.png")
        (wide, tall), (left, top) = placement(width, height, (down, across), center_crop)
        expected = np.zeros((down, across), np.uint8)
        for y, x in itertools.product(range(down), range(across)):
            expected[y, x] = mask[(y + top) * height // tall, (x + left) * width // wide]
        found = read_mask([tmp_path / "mask.png"], [], (down, across), center_crop)
        assert found.tolist() == expected.tolist()
        box = [int(v) for v in (x0, y0, x1, y1)]
        (scaled,) = scale_boxes(
            torch.tensor([box]), torch.tensor([[width, height]]), (down, across), center_crop
        )
        edges, corner = (wide, tall) * 2, (left, top) * 2
        assert scaled.tolist() == [
            box[i] * edges[i] // (width, height)[i % 2] - corner[i] for i in range(4)
        ]


def test_crops_reach_every_place_and_stay_inside():
    found = {
        drawn_window(down << 1 | across << 32 | flip, (7, 9), (5, 8))
        for down, across, flip in itertools.product(range(3), range(2), range(2))
    }
    assert found == {
        Window(left, top, 8, 5, flip)
        for left, top, flip in itertools.product(range(2), range(3), (False, True))
    }
    with pytest.raises(ValueError, match=r"at most \[7,9\] pixels, got \[8,7\]"):
        drawn_window(0, (7, 9), (8, 7))


@pytest.mark.parametrize("size", [(100, 60), (10, 400), (33, 45)])
def test_a_fast_decoding_leaves_both_sides_long_enough(size):
    header = JPEGHeader(900, 320, annotated=False)
    wanted = [f for f in (1, 2, 4, 8) if f == 1 or (f * size[0] <= 320 and f * size[1] <= 900)]
    assert _reduction(header, size) == max(wanted)


@pytest.mark.parametrize("options", [{}, {"cache": "memory"}, {"cache": "disk"}])
def test_training_images_are_windows_of_the_resized_ones(tiny, tmp_path, options):
    folder = tiny()
    sizes = {"resize_size": [9, 13], "crop_size": [6, 11]}
    data = tiny_data(folder, **sizes, **options, cache_folder=tmp_path / "kept")
    data.setup("fit")
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    for image_id, found in train_images(data).items():
        whole = (read_resized(folder / image_id, (9, 13)) / 255 - mean) / std
        windows = [
            part.flip(-1) if flip else part
            for top, left, flip in itertools.product(range(4), range(3), (0, 1))
            for part in [whole[:, top : top + 6, left : left + 11]]
        ]
        assert min(float((found - window).abs().max()) for window in windows) < 1e-5
    for batch in data.val_dataloader():
        assert batch["image"].shape[1:] == (3, 6, 11)
    names = {path.name.partition("-")[2].partition("-")[0] for path in tmp_path.glob("kept/*")}
    assert names == ({"9x13px", "6x11px"} if options.get("cache") == "disk" else set())


def test_boxes_and_masks_follow_the_crops_of_a_supervised_training(tmp_path):
    for split in ("train", "val"):
        _write_set(tmp_path, split, transposed=False)
    sizes = {"resize_size": [20, 26], "crop_size": [13, 19]}
    data = WSOLDataModule(tmp_path, tmp_path / "metadata", **sizes, mean=[0] * 3, std=[1] * 3)
    data.setup("fit")
    data = data.with_shares(0.5, 0)
    seen = 0
    for batch in data.train_dataloader():
        assert batch["mask"].shape[1:] == (13, 19)
        for image, mask, boxes in zip(batch["image"], batch["mask"], batch["boxes"], strict=True):
            # images of 20 x 26 pixels are not resized, and their objects are bright
            assert torch.equal(image[0] > 0.5, mask > 0)
            rows, columns = mask.nonzero().unbind(1)
            x0, y0, x1, y1 = boxes[0].tolist()
            inside = (max(x0, 0), max(y0, 0), min(x1, 18), min(y1, 12))
            if len(rows):
                ends = columns.min(), rows.min(), columns.max(), rows.max()
                assert tuple(map(int, ends)) == inside
                seen += 1
    assert seen > 1


def _write_set(folder, split, transposed):
    """Write 6 images of 26 x 20 pixels with a bright rectangle each, or the same transposed."""
    generator, place = np.random.default_rng(3), folder / "metadata" / split
    place.mkdir(parents=True)
    (folder / split).mkdir()
    rows = {name: [] for name in ("image_ids", "class_labels", "image_sizes", "localization")}
    rows["masks"] = []
    for number in range(6):
        name = f"{split}/{number}.png"
        x0, y0 = generator.integers(2, 12, 2)
        x1, y1 = x0 + generator.integers(4, 12), y0 + generator.integers(3, 6)
        inside = np.zeros((20, 26), bool)
        inside[y0 : y1 + 1, x0 : x1 + 1] = True
        pixels = np.where(inside, 200, 40).astype(np.uint8)
        box = (x0, y0, x1, y1)
        if transposed:
            pixels, box = pixels.T, (y0, x0, y1, x1)
        height, width = pixels.shape
        Image.fromarray(pixels).convert("RGB").save(folder / name)
        Image.fromarray((pixels > 99).astype(np.uint8) * 255).save(
            folder / split / f"m{number}.png"
        )
        rows["image_ids"].append(name)
        rows["class_labels"].append(f"{name},{number % 2}")
        rows["image_sizes"].append(f"{name},{width},{height}")
        rows["localization"].append(f"{name},{','.join(map(str, box))}")
        rows["masks"].append(f"{name},{split}/m{number}.png,")
    for name, lines in rows.items():
        (place / f"{name}.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("options", [{}, {"center_crop": True}, {"evaluation_resize": 31}])
def test_a_transposed_data_set_has_equal_metrics(tmp_path, options):
    """Images, boxes, masks and given maps transposed; sizes [h, w] become [w, h]."""
    maps = torch.from_numpy(np.random.default_rng(5).random((6, 28, 21), dtype=np.float32))
    maps = torch.nn.functional.avg_pool2d(maps[:, None], 5, 1, 2)[:, 0]
    found = []
    for transposed in (False, True):
        folder = tmp_path / str(transposed)
        for split in ("train", "val"):
            _write_set(folder, split, transposed)
        size = [21, 28] if transposed else [28, 21]
        data = WSOLDataModule(
            folder, folder / "metadata", crop_size=size, resize_size=size, batch_size=6, **options
        )
        data.setup("fit")
        (batch,) = data.val_dataloader()
        assert list(batch["image"].shape[2:]) == size
        given = maps.mT.contiguous() if transposed else maps
        metrics = MaxBoxAcc(), MaxBoxAccV2(), PxAP(), LocalizationFloors()
        metrics[0].update(given, batch["boxes"])
        metrics[1].update(given, batch["boxes"])
        metrics[2].update(given, batch["mask"])
        metrics[3].update(batch["boxes"], batch["image"].shape[2:], batch["mask"])
        found.append([metric.compute() for metric in metrics])
    assert 0 < found[0][2] < 1
    assert found[0] == found[1]


def test_the_creatures_parts_lie_where_their_pixels_do(creatures):
    ids = ["images/test/00003.png", "images/val/00001.png"]
    found = CreaturesParts(creatures, creatures / "metadata").read(ids, (24, 16))
    for image_id, labels in zip(ids, found, strict=True):
        with Image.open(creatures / image_id.replace("images", "parts", 1)) as image:
            original = np.asarray(image)
        assert labels.tolist() == original[::2, ::3].tolist()  # floor(i * 48 / 24), / 16
    options = {"image_size": 48, "contrast": 50.0, "clutter": 0.8, "noise": 0.02}
    drawn = RenderedParts(CreaturesRenderer(**options), [24, 16]).render(ids)
    assert torch.equal(drawn.labels, found)
    assert drawn.masks.shape[1:] == (24, 16)
    for row, image_id in enumerate(ids):
        assert torch.equal(drawn.parts[row, 0], read_resized(creatures / image_id, (24, 16)))


@pytest.mark.parametrize("inside", [True, False])
def test_birds_parts_are_those_of_the_nearest_keypoint(cub, inside):  # noqa: F811
    """Size of the images 40 x 20; see `test_parts` for the keypoints."""
    found = CUBParts(cub, segmentations=inside).read(["images/001.A/a.jpg"], (10, 40))[0]
    points = {1: (4, 2), 5: (38, 9), 7: (20, 5)}
    for y, x in itertools.product(range(10), range(40)):
        distances = {p: (x - a) ** 2 + (y - b) ** 2 for p, (a, b) in points.items()}
        near = min(distances, key=distances.get)
        if inside and x >= 32:
            assert found[y, x] == 0
        elif not inside or x < 28:
            assert distances[int(found[y, x])] == distances[near]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"resize_size": [64, 80], "crop_size": [64, 81]}, r"got \[64,81\] > \[64,80\]"),
        ({"resize_size": 64, "crop_size": [65, 32]}, r"got \[65,32\] > 64"),
        ({"crop_size": [0, 5]}, r"crop_size of 1 or more, got \[0,5\]"),
        (
            {"crop_size": [64, 80], "evaluation_resize": 79},
            r"at least the longer side of crop_size, got 79 < \[64,80\]",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        WSOLDataModule(tmp_path, tmp_path / "metadata", **options)
