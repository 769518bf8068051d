"""Creatures painted again without parts, distractors or background."""

import numpy as np
import pytest

from learned_saliency.datamodules.creatures.classes import class_attributes
from learned_saliency.datamodules.creatures.painting import fill
from learned_saliency.datamodules.creatures.scene import SceneOptions, draw_scene, render_scene

OPTIONS = SceneOptions(image_size=64, noise=0.02)
CLASSES = class_attributes(16)


@pytest.fixture(scope="module")
def drawings():
    return [draw_scene(CLASSES[i], OPTIONS, np.random.default_rng(i)) for i in range(8)]


def near(mask):
    """Pixels at most two from a mask, as far as the blur reaches."""
    padded = np.pad(mask, 2)
    shifts = [(y, x) for y in range(5) for x in range(5)]
    return np.any([padded[y : y + 64, x : x + 64] for y, x in shifts], axis=0)


def test_with_nothing_left_out_the_scene_comes_out_to_the_bit_each_time(drawings):
    for i, drawing in enumerate(drawings):
        scene = render_scene(CLASSES[i], OPTIONS, np.random.default_rng(i))
        np.testing.assert_array_equal(drawing.paint(), scene.image)
        drawing.paint([1, 4], [0])
        np.testing.assert_array_equal(drawing.paint(), scene.image)
        np.testing.assert_array_equal(drawing.parts, scene.parts)


@pytest.mark.parametrize("part", [1, 2, 3, 4])
def test_without_a_part_its_pixels_change_and_no_others(drawings, part):
    for drawing in drawings:
        image, without = drawing.paint(), drawing.paint([part])
        changed = (image != without).any(axis=2)
        own = drawing.parts == part
        assert changed[own].mean() > 0.8
        # A part reaches a pixel further than its mask, which has what it covers by half.
        assert not changed[~near(near(own))].any()


def test_without_all_parts_the_background_alone_is_left(drawings):
    for drawing in drawings:
        bare = drawing.paint([1, 2, 3, 4])
        rest = drawing._replace(creature=drawing.creature._replace(shapes=[])).paint()
        np.testing.assert_array_equal(bare, rest)
        assert (bare != drawing.paint())[drawing.parts > 0].any()


def test_a_plain_background_leaves_the_inside_of_the_creature_alone(drawings):
    for drawing in drawings:
        image, plain = drawing.paint(), drawing.paint(plain=True)
        inside = ~near(near(drawing.parts == 0))
        np.testing.assert_array_equal(image[inside], plain[inside])
        outside = plain[~near(near(drawing.parts > 0))].astype(float)
        noise = drawing.noise[~near(near(drawing.parts > 0))]
        np.testing.assert_allclose((outside - noise).std(axis=0), 0, atol=0.6)  # rounding


def test_a_distractor_is_gone_where_it_was_and_the_others_stay(drawings):
    seen = 0
    for drawing in drawings:
        image, masks, behind = drawing.paint(), drawing.distractors(), drawing.background
        owners = np.take(np.array([-1, *behind.owners]), fill(behind.shapes, 64, 64, 2))
        assert masks.shape[1:] == (64, 64)
        assert not (masks & (drawing.parts > 0)).any()
        assert masks.sum(axis=0).max(initial=0) <= 2  # two that have half of a pixel each
        for number, mask in enumerate(masks):
            changed = (image != drawing.paint(distractors=[number])).any(axis=2)
            touched = (owners == number).reshape(64, 2, 64, 2).any(axis=(1, 3))
            assert not changed[~near(touched)].any()
            if mask.any():
                seen += 1
                assert changed[mask].mean() > 0.5
    assert seen > 8
