"""The creatures' classes: which parts tell them, and that their pictures show it."""

import itertools

import cv2
import numpy as np
import pytest

from learned_saliency.datamodules.creatures.anatomy import FORMS, PARTS, TINTS
from learned_saliency.datamodules.creatures.classes import class_attributes, class_name
from learned_saliency.datamodules.creatures.scene import SceneOptions, render_scene


@pytest.mark.parametrize("num_classes", [5, 16, 64])
def test_class_pairs_differ_in_one_two_and_three_parts(num_classes):
    classes = class_attributes(num_classes)
    assert len(set(classes)) == num_classes
    pairs = itertools.combinations(classes, 2)
    assert {sum(a != b for a, b in zip(*pair, strict=True)) for pair in pairs} == {1, 2, 3}
    for position, part in enumerate(PARTS[:3]):
        assert {attributes[position] for attributes in classes} <= set(FORMS[part])


def test_first_16_classes_are_decided_by_head_and_wing():
    assert len({attributes[:2] for attributes in class_attributes(16)}) == 16


@pytest.mark.parametrize("num_classes", [2, 6, 16, 32])
@pytest.mark.parametrize(("evidence", "before"), [("redundant", ""), ("ringed", "ringed ")])
def test_any_part_tells_a_redundant_class_or_a_class_and_its_sibling(num_classes, evidence, before):
    classes = class_attributes(num_classes, evidence)
    assert len(set(classes)) == num_classes
    numbers = set()
    for (i, first), (j, second) in itertools.combinations(enumerate(classes), 2):
        differing = sum(a != b for a, b in zip(first, second, strict=True))
        if i // 2 == j // 2:
            numbers.add(differing)
        else:
            assert differing == 4
    assert numbers == ({1} if num_classes == 2 else {1, 2, 3})
    for position, part in enumerate(PARTS):
        values = {attributes[position] for attributes in classes}
        assert values <= {f"{before}{tint} {form}" for tint in TINTS for form in FORMS[part]}


def test_every_part_tells_a_vivid_class_and_the_head_has_its_color():
    classes = class_attributes(8, "vivid")
    for first, second in itertools.combinations(classes, 2):
        assert all(a != b for a, b in zip(first, second, strict=True))
    assert {attributes[0].split()[0] for attributes in classes} == set(TINTS)
    for position, part in enumerate(PARTS[1:], start=1):
        values = {attributes[position] for attributes in classes}
        assert values <= {f"{c} {form}" for c in ("white", "black", "mark") for form in FORMS[part]}


def test_only_the_head_of_a_vivid_creature_is_vivid():
    options = SceneOptions(image_size=256, min_area=0.5, noise=0.0)
    hues = {"red": 0, "green": 1, "blue": 2}
    for attributes in class_attributes(3, "vivid"):
        scene = render_scene(attributes, options, np.random.default_rng(5))
        head, wing = (scene.image[scene.parts == part].astype(int) for part in (1, 2))
        vivid = head[np.ptp(head, axis=1) > 100]
        assert np.bincount(vivid.argmax(1)).argmax() == hues[attributes[0].split()[0]]
        assert len(vivid) > 0.4 * len(head)
        assert np.median(np.ptp(wing, axis=1)) < 60


def test_redundant_parts_have_the_colors_of_their_class():
    options = SceneOptions(image_size=256, min_area=0.5, noise=0.0)
    channels, agree = {"red": 0, "green": 1, "blue": 2}, []
    for attributes in class_attributes(32, "redundant"):
        scene = render_scene(attributes, options, np.random.default_rng(5))
        for label, value in enumerate(attributes[:3], start=1):
            if (color := value.split()[0]) in channels:
                pixels = scene.image[scene.parts == label].astype(int)
                vivid = pixels[np.ptp(pixels, axis=1) > 100]
                agree.append(np.bincount(vivid.argmax(1)).argmax() == channels[color])
    assert len(agree) > 15
    assert np.mean(agree) > 0.9


_OPPOSITE = {"red": "cyan", "blue": "yellow", "green": "magenta"}  # nearly complements
_FORMS_OF_COLORS = [
    *((0, f"red {form}") for form in FORMS["head"]),
    *((1, f"blue {form}") for form in FORMS["wing"]),
    *((2, f"green {form}") for form in FORMS["tail"]),
    *((3, f"red {form}") for form in FORMS["body"]),
]


@pytest.mark.parametrize(("position", "value"), _FORMS_OF_COLORS)
def test_a_blur_erases_what_tells_a_ringed_class(position, value):
    color, form = value.split()
    options = SceneOptions(max_area=0.4, noise=0.0)

    def difference(before, size):
        """Largest between two creatures that differ in the color of one part; blurred or not."""
        found = []
        for seed in range(8):
            images = []
            for tint in (color, _OPPOSITE[color]):
                attributes = ["round", "pointed", "club", "any"]
                attributes[position] = f"{before}{tint} {form}"
                image = render_scene(tuple(attributes), options, np.random.default_rng(seed)).image
                images.append(cv2.GaussianBlur(image.astype(np.float32), (0, 0), size))
            found.append(np.abs(images[0] - images[1]).max())
        return np.mean(found)

    ringed, redundant = difference("ringed ", 8.6), difference("", 8.6)  # 15 pixels of 224
    assert ringed < 20
    assert ringed < redundant / 3
    assert difference("ringed ", 0.1) > 75


def test_class_names_leave_out_what_is_neutral():
    assert class_name(("round", "pointed", "forked", "any")) == "round-pointed-forked"
    assert class_name(("round", "a", "b", "red spots")) == "round-a-b-red_spots"
