"""Images of two animals: where they are, what is written of them, and what stays as it was."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from learned_saliency.datamodules import (
    CreaturesParts,
    CreaturesRenderer,
    DataError,
    WSOLDataModule,
)
from learned_saliency.datamodules.creatures.classes import class_attributes
from learned_saliency.datamodules.creatures.pair import draw_group
from learned_saliency.datamodules.creatures.scene import SceneOptions, tight_box

SMALL = {"image_size": 48, "train_images": 5, "val_images": 5, "test_images": 5, "num_classes": 5}
OPTIONS = SceneOptions(image_size=48)
CLASSES = class_attributes(16)


@pytest.fixture(scope="module")
def drawings():
    pairs = [(CLASSES[i], CLASSES[(3 * i + 1) % 16]) for i in range(16)]
    return [draw_group(p, OPTIONS, np.random.default_rng(i)) for i, p in enumerate(pairs)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "set"
    CreaturesRenderer(**SMALL, workers=1, animals=2).prepare(folder, folder / "metadata")
    return folder


def test_both_animals_show_and_neither_hides_the_other(drawings):
    for drawing in drawings:
        assert drawing.masks.shape == (2, 48, 48)
        assert drawing.masks.sum(0).max() == 1
        for creature, mask in zip(drawing.creatures, drawing.masks, strict=True):
            alone = drawing.background.paint() * 0
            creature.paint_on(alone)
            whole = (alone > 0).any(2)  # colored pixels, those of the edge among them
            inside = mask.astype(bool) & whole
            assert inside.sum() == mask.sum()
            x0, y0, x1, y1 = tight_box(mask)
            area = (x1 - x0 + 1) * (y1 - y0 + 1) / 48**2
            assert 0.04 < area <= 0.31


def test_pixels_of_a_mask_are_those_that_the_animal_changes(drawings):
    for drawing in drawings[:6]:
        for gone, mask in enumerate(drawing.masks):
            others = tuple(c for k, c in enumerate(drawing.creatures) if k != gone)
            sharp = drawing._replace(blur=0.01, noise=drawing.noise * 0)
            changed = (sharp.paint() != sharp._replace(creatures=others).paint()).any(2)
            assert changed[cv2.erode(mask, np.ones((3, 3), np.uint8)) > 0].mean() > 0.9
            assert not changed[cv2.dilate(mask, np.ones((7, 7), np.uint8)) == 0].any()


def test_metadata_have_a_line_per_animal_and_masks_of_its_class(root):
    data = WSOLDataModule(root, root / "metadata", task="multilabel", crop_size=48, batch_size=10)
    data.setup()
    (batch,) = data.val_dataloader()
    assert batch["label"].tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 0, 4]
    assert batch["labels"].sum(1).tolist() == [2] * 10
    for row in range(0, 10, 2):
        assert (batch["mask"][row] * batch["mask"][row + 1]).sum() == 0
    for mask, boxes in zip(batch["mask"].numpy(), batch["boxes"], strict=True):
        assert boxes.tolist() == [list(tight_box(mask))]
    ids = (root / "metadata/val/image_ids.txt").read_text().splitlines()
    assert ids == [f"images/val/{k + 1:05d}.png" for k in range(5)]
    assert len(data.train_dataloader().dataset) == 5


def test_every_pair_of_classes_takes_its_turn():
    renderer = CreaturesRenderer(**SMALL | {"image_size": 32}, animals=2)
    pairs = {renderer.images.labels(number) for number in range(20)}
    assert pairs == {(a, b) for a in range(5) for b in range(5) if a != b}


def test_damaged_images_of_two_animals_are_rendered_again(root):
    files = [root / "images/val/00002.png", root / "masks/2/val/00003.png"]
    before = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    files[0].write_bytes(b"")
    files[1].unlink()
    CreaturesRenderer(**SMALL, workers=1, animals=2).prepare(root, root / "metadata")
    assert [hashlib.sha256(file.read_bytes()).hexdigest() for file in files] == before


def test_sets_of_one_and_of_two_animals_do_not_mix(root):
    assert json.loads((root / "creatures.json").read_text())["animals"] == 2
    with pytest.raises(DataError, match="unknown keys"):
        CreaturesRenderer(**SMALL).prepare(root, root / "metadata")


def test_what_two_animals_do_not_have_is_refused(root):
    with pytest.raises(DataError, match=r"part masks is missing.*images of two animals have no"):
        CreaturesParts(root, root / "metadata")
    with pytest.raises(DataError, match="one creature alone"):
        CreaturesRenderer(**SMALL, animals=2).draw("val", 0)
    with pytest.raises(ValueError, match="cue_class is for images of one animal"):
        CreaturesRenderer(**SMALL, animals=2, cue_class=1, cue_strength=0.5)
    with pytest.raises(ValueError, match="animals must be 1 or 2, got 3"):
        CreaturesRenderer(**SMALL, animals=3)
    with pytest.raises(ValueError, match="areas must satisfy"):
        CreaturesRenderer(**SMALL, animals=2, min_area=0.3)
