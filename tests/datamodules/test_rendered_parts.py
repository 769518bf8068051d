"""Images of the embedded data set rendered again, against the files of the data set."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from learned_saliency.datamodules import (
    CreaturesParts,
    CreaturesRenderer,
    DataError,
    RenderedParts,
    read_resized,
    shared_parts,
    sufficient_parts,
)
from learned_saliency.datamodules.creatures.classes import class_attributes

IDS = ["images/test/00001.png", "images/val/00003.png", "images/test/00017.png"]
SIZE = 32


@pytest.fixture(scope="module")
def rendered(creatures):
    options = {"image_size": 48, "contrast": 50.0, "clutter": 0.8, "noise": 0.02}
    return RenderedParts(CreaturesRenderer(**options), SIZE)


@pytest.fixture(scope="module")
def found(rendered):
    return rendered.render(IDS)


def test_with_nothing_removed_images_equal_the_files_to_the_bit(rendered, found, creatures):
    for row, image_id in enumerate(IDS):
        stored = read_resized(creatures / image_id, SIZE)
        assert torch.equal(found.parts[row, 0], stored)
        assert torch.equal(rendered.image(image_id), stored)
    parts = CreaturesParts(creatures, creatures / "metadata").read(IDS, SIZE)
    assert torch.equal(found.labels, parts)


def test_each_set_of_parts_is_removed_in_its_place(rendered, found):
    for row, image_id in enumerate(IDS):
        _, split, name = image_id.split("/")
        drawing, _ = rendered._renderer.draw(split, int(name[:-4]) - 1)
        for number, some in enumerate(itertools.product((False, True), repeat=4)):
            without = [p for p, gone in zip((4, 3, 2, 1), some, strict=True) if gone]
            assert number == sum(2 ** (p - 1) for p in without)
            expected = rendered._resized(drawing.paint(without))
            assert torch.equal(found.parts[row, number], expected)
        assert torch.equal(found.plain[row], rendered._resized(drawing.paint(plain=True)))
        masks = drawing.distractors()
        mine = found.rows == row
        assert int(mine.sum()) == len(masks)
        for n, (image, mask) in enumerate(
            zip(found.distractors[mine], found.masks[mine], strict=True)
        ):
            expected = rendered._resized(drawing.paint(distractors=[n]))
            assert torch.equal(image, expected)
            nearest = cv2.resize(
                masks[n].astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST
            )
            assert np.array_equal(mask.numpy(), nearest > 0)


def test_an_image_does_not_depend_on_its_batch(rendered, found):
    alone = rendered.render(IDS[1:2])
    assert torch.equal(alone.parts[0], found.parts[1])
    assert torch.equal(alone.distractors, found.distractors[found.rows == 1])
    assert alone.rows.tolist() == [0] * len(alone.distractors)


def test_images_without_a_distractor_have_empty_lists():
    bare = RenderedParts(CreaturesRenderer(image_size=48, clutter=0.0), SIZE).render(IDS[:2])
    assert bare.distractors.shape == (0, 3, SIZE, SIZE)
    assert bare.masks.shape == (0, SIZE, SIZE)
    assert bare.rows.shape == (0,)


@pytest.mark.parametrize("image_id", ["photo.png", "images/test/x.png", "images/new/00001.png"])
def test_other_images_are_refused(rendered, image_id):
    with pytest.raises(DataError, match="is no image of data=creatures"):
        rendered.image(image_id)


@pytest.mark.parametrize("classes", [class_attributes(16), class_attributes(12, "redundant")])
def test_sufficient_sets_equal_a_count_by_hand(classes):
    sets = sufficient_parts(classes)
    for label, own in enumerate(classes):
        expected = []
        for size in range(1, 5):
            for some in itertools.combinations(range(4), size):
                told = all(
                    any(own[p] != other[p] for p in some)
                    for i, other in enumerate(classes)
                    if i != label
                )
                if told and not any(set(smaller) < set(some) for smaller in expected):
                    expected.append(some)
        chosen = [tuple(torch.nonzero(row)[:, 0].tolist()) for row in sets[label] if row.any()]
        assert sorted(chosen) == sorted(expected)


def test_head_and_wing_suffice_among_sixteen_classes_and_the_body_is_shared_by_none():
    classes = class_attributes(16)
    sets = sufficient_parts(classes)
    assert sets.shape == (16, 1, 4)
    assert sets[:, 0].tolist() == [[True, True, False, False]] * 16
    shared = shared_parts(classes)
    assert not shared[..., 3].any()
    for first, second in itertools.product(range(16), repeat=2):
        same = [classes[first][p] == classes[second][p] for p in range(3)]
        assert shared[first, second, :3].tolist() == same
