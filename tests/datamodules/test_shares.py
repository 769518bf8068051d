"""Shares of `val` that a supervised bound learns from and is chosen by, and their geometry."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learned_saliency.datamodules import DataError
from learned_saliency.datamodules import sampler as sampler_module
from learned_saliency.datamodules.metadata import SplitMetadata
from learned_saliency.datamodules.resampling import Window
from learned_saliency.datamodules.shares import split_shares
from learned_saliency.datamodules.transforms import cut_boxes
from learned_saliency.losses import box_masks
from tests.support.tiny import add_masks, tiny_data

GRAY = {"mean": [0.0] * 3, "std": [1.0] * 3}


def split_of(labels, boxes=True, masks=None):
    """Metadata of images i.png, each with one box (i, i, i + 1, i + 1)."""
    count = len(labels)
    corner = np.arange(count)[:, None] + np.array([0, 0, 1, 1])
    found = {"sizes": np.full((count, 2), 500), "boxes": corner, "box_images": np.arange(count)}
    if masks is not None:
        found |= {"mask_paths": masks, "ignore_paths": [[] for _ in masks]}
    ids = [f"{i}.png" for i in range(count)]
    return SplitMetadata(Path("val"), ids, np.array(labels), **(found if boxes else {}))


@pytest.mark.parametrize(("per_class", "classes", "chosen"), [(20, 16, 4), (5, 200, 1), (10, 3, 2)])
def test_each_class_gives_its_part_to_each_share(per_class, classes, chosen):
    whole = split_of(np.arange(per_class * classes) % classes)
    for seed in range(3):
        learned, rest = split_shares(whole, 0.8, seed)
        assert sorted(learned.image_ids + rest.image_ids) == sorted(whole.image_ids)
        assert (np.bincount(rest.labels) == chosen).all()
        for part in (learned, rest):
            places = [whole.image_ids.index(name) for name in part.image_ids]
            assert places == sorted(places)
            np.testing.assert_array_equal(part.labels, whole.labels[places])
            np.testing.assert_array_equal(part.boxes[:, 0], places)


@pytest.mark.parametrize("share", [0.01, 0.37, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("count", [2, 3, 7, 50])
def test_shares_are_as_large_as_asked_and_never_empty(share, count):
    generator = np.random.default_rng(count)
    whole = split_of(generator.integers(-1, 4, count))
    learned, rest = split_shares(whole, share, 0)
    assert not set(learned.image_ids) & set(rest.image_ids)
    assert len(learned) + len(rest) == count
    assert len(learned) == min(max(round(share * count), 1), count - 1)
    for label in range(-1, 4):  # each class within one image of its part
        of_class = (whole.labels == label).sum()
        expected = of_class * len(learned) / count
        assert abs((learned.labels == label).sum() - expected) < 1.5


def test_the_draw_depends_on_its_seed_alone():
    whole = split_of(np.arange(60) % 3)
    draws = [split_shares(whole, 0.8, seed)[1].image_ids for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_images_without_truth_are_in_neither_share():
    masks = [["m.png"] if i % 2 else [] for i in range(20)]
    learned, rest = split_shares(split_of([0] * 20, masks=masks), 0.8, 0)
    assert sorted(learned.image_ids + rest.image_ids) == sorted(f"{i}.png" for i in range(1, 20, 2))
    whole = split_of([0] * 10)
    some = replace(whole, boxes=whole.boxes[3:], box_images=whole.box_images[3:])
    learned, rest = split_shares(some, 0.5, 0)
    assert {"0.png", "1.png", "2.png"}.isdisjoint(learned.image_ids + rest.image_ids)


def test_what_cannot_be_split_is_told_in_a_sentence():
    with pytest.raises(DataError, match=r"^val: has neither boxes nor masks to learn from; add"):
        split_shares(split_of([0] * 9, boxes=False), 0.8, 0)
    with pytest.raises(DataError, match=r"^val: 1 of its images have boxes or masks, of which"):
        split_shares(split_of([0]), 0.8, 0)
    for share in (0, 1, -1, float("nan")):
        with pytest.raises(ValueError, match="expected a share in"):
            split_shares(split_of([0] * 9), share, 0)


@pytest.fixture
def shown(tmp_path):
    """A data set whose images are black but for their object, which is white: a pixel's truth."""

    def write(masks, count=10, width=40, height=20):
        generator = np.random.default_rng(0)
        for split in ("train", "val", "test"):
            place = tmp_path / "metadata" / split
            place.mkdir(parents=True)
            (tmp_path / split).mkdir()
            lines = {"image_ids": [], "class_labels": [], "image_sizes": [], "localization": []}
            for i in range(count):
                name, pixels = f"{split}/{i}.png", np.zeros((height, width), np.uint8)
                x, y = 2 * generator.integers(0, 12), generator.integers(0, 12)
                w, h = 2 * generator.integers(2, 7), generator.integers(3, 8)
                pixels[y : y + h, x : x + w] = 255
                Image.fromarray(np.stack([pixels] * 3, axis=2)).save(tmp_path / name)
                Image.fromarray(pixels).save(tmp_path / split / f"m{i}.png")
                lines["image_ids"].append(name)
                lines["class_labels"].append(f"{name},{i % 2}")
                lines["image_sizes"].append(f"{name},{width},{height}")
                box = f"{name},{x},{y},{x + w - 1},{y + h - 1}"
                lines["localization"].append(f"{name},{split}/m{i}.png," if masks else box)
            if masks:
                del lines["image_sizes"]
            for file, rows in lines.items():
                (place / f"{file}.txt").write_text("".join(f"{row}\n" for row in rows))
        return tmp_path

    return write


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"cache": "memory"}, {"cache": "disk"}, {"fast_decode": True}]
)
def test_boxes_and_masks_lie_on_the_pixels_of_their_object(shown, tmp_path, masks, options):
    """40x20 pixels become 20x20, of which 13x13 are cut out and half of them mirrored."""
    folder = shown(masks)
    sizes = {"resize_size": 20, "crop_size": 13, "cache_folder": tmp_path / "kept"}
    data = tiny_data(folder, **GRAY, **sizes, **options)
    data.setup("fit")
    data = data.with_shares(0.8, seed=3)
    looks = set()
    for epoch in range(6):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            white = (batch["image"][:, 0] > 0.5).to(torch.uint8)
            truth = batch["mask"] if masks else box_masks(batch["boxes"], 13, 13)
            torch.testing.assert_close(truth, white, rtol=0, atol=0)
            assert ("boxes" in batch) != masks
            pixels = white.flatten(1).tolist()
            looks |= set(zip(batch["image_id"], map(tuple, pixels), strict=True))
    assert len(looks) > 4 * 8  # 8 images in 6 epochs


def test_without_augmentation_the_whole_image_is_shown_with_its_truth(shown):
    square = {"augment": False, "resize_size": 20, "crop_size": 20}
    data = tiny_data(shown(masks=True), **GRAY, **square)
    data.setup("fit")
    for batch in data.with_shares(0.8, seed=3).train_dataloader():
        white = (batch["image"][:, 0] > 0.5).to(torch.uint8)
        torch.testing.assert_close(batch["mask"], white, rtol=0, atol=0)


def test_boxes_follow_a_window_and_its_mirror_image():
    boxes = torch.tensor([[10, 20, 19, 39], [0, 0, 5, 5]])
    found = cut_boxes(boxes, Window(8, 16, 32, 32))
    assert found.tolist() == [[2, 4, 11, 23], [-8, -16, -3, -11]]
    mirrored = cut_boxes(boxes, Window(8, 16, 32, 32, mirrored=True))
    assert mirrored.tolist() == [[20, 4, 29, 23], [34, -16, 39, -11]]


def test_the_usual_data_stay_as_they_are(tiny):
    folder = tiny()
    add_masks(folder)
    data = tiny_data(folder)
    data.setup()
    before = data.state_dict()
    shares = data.with_shares(0.8, 0)
    assert data.learned_from is None
    assert data.state_dict() == before != shares.state_dict()
    for batch in data.train_dataloader():
        assert set(batch) == {"image", "label", "image_id", "index"}
        assert all(name.startswith("train/") for name in batch["image_id"])
    learned, chosen = list(shares.train_dataloader()), list(shares.val_dataloader())
    names = [{name for batch in part for name in batch["image_id"]} for part in (learned, chosen)]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {f"val/{i}.png" for i in range(5)}
    assert set(learned[0]) == {"image", "label", "image_id", "index", "boxes", "mask"}
    counted = {"split": "val", "images": 4, "boxes": 4, "masks": 4, "share": 0.8}
    assert shares.learned_from == shares.supervision("train") == counted
    assert shares.supervision("val") == {k: 1 for k in counted} | {"split": "val", "share": 0.2}
    assert shares.supervision("test") == data.supervision("test")
    assert shares.has_boxes("train")
    assert not data.has_boxes("train")


def test_two_processes_see_what_one_sees_and_go_on_where_it_stopped(shown, monkeypatch):
    data = tiny_data(shown(masks=True), resize_size=20, crop_size=13)
    data.setup("fit")
    data = data.with_shares(0.8, 0)

    def batches(skipped=0, **process):
        monkeypatch.setattr(sampler_module, "_process", lambda: process)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(2)
        loader.load_state_dict({"epoch": 2, "batches": skipped})
        return [
            {name: (image, mask) for name, image, mask in zip(*columns, strict=True)}
            for columns in ((b["image_id"], b["image"], b["mask"]) for b in loader)
        ]

    whole = batches(rank=0, num_replicas=1)
    assert [len(batch) for batch in whole] == [4, 4]
    (second,) = batches(1, rank=0, num_replicas=1)
    torch.testing.assert_close(second, whole[1], rtol=0, atol=0)
    shares = [batches(rank=rank, num_replicas=2) for rank in range(2)]
    seen = {name: values for (batch,) in shares for name, values in batch.items()}
    torch.testing.assert_close(seen, {**whole[0], **whole[1]}, rtol=0, atol=0)
