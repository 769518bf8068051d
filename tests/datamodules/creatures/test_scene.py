"""Rendered creatures: areas, colors, difficulty, and the painting of them."""

import itertools

import cv2
import numpy as np
import pytest

from learned_saliency.datamodules.creatures.background import background
from learned_saliency.datamodules.creatures.classes import class_attributes
from learned_saliency.datamodules.creatures.painting import fill, hsv_to_rgb, rgb_to_lab
from learned_saliency.datamodules.creatures.scene import SceneOptions, render_scene, tight_box


@pytest.fixture(scope="module")
def scenes():
    options = SceneOptions()
    classes = class_attributes(16)
    return [render_scene(classes[i % 16], options, np.random.default_rng(i)) for i in range(160)]


def test_box_areas_cover_the_stated_range(scenes):
    boxes = np.array([tight_box(scene.mask) for scene in scenes])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1) / 128**2
    assert areas.min() >= 0.05
    assert areas.max() <= 0.6
    assert (areas < 0.1).mean() > 0.05
    assert (areas > 0.4).mean() > 0.05
    assert 0.15 < np.median(areas) < 0.3


def test_body_makes_up_most_of_the_creature_but_every_part_shows(scenes):
    counts = np.array([np.bincount(scene.parts.ravel(), minlength=5)[1:] for scene in scenes])
    assert counts.min() >= 2
    shares = counts.sum(axis=0) / counts.sum()
    assert shares[3] > 0.65
    assert (shares[:3] > 0.02).all()


def test_body_stands_out_locally_but_no_fixed_color_separates_it(scenes):
    differences, bodies = [], []
    for scene in scenes:
        lab = rgb_to_lab(scene.image.reshape(-1, 3)).reshape(128, 128, 3)
        near = cv2.dilate(scene.mask, np.ones((9, 9), np.uint8)) > scene.mask
        body = np.median(lab[scene.parts == 4], axis=0)
        differences.append(np.linalg.norm(body - np.median(lab[near], axis=0)))
        bodies.append(body)
    assert np.mean(np.array(differences) > 20) > 0.9
    assert (np.std(bodies, axis=0) > 12).all()


def test_every_class_wears_bodies_of_all_hues():
    # The mean body color of a class differs from that of all classes by chance only.
    options, classes = SceneOptions(image_size=48), class_attributes(4)
    colors = np.empty((4, 40, 3))
    for label, i in itertools.product(range(4), range(40)):
        scene = render_scene(classes[label], options, np.random.default_rng([label, i]))
        colors[label, i] = np.median(scene.image[scene.parts == 4], axis=0)
    standard_error = colors.std(axis=(0, 1)) / np.sqrt(40)
    assert (abs(colors.mean(axis=1) - colors.mean(axis=(0, 1))) < 3.5 * standard_error).all()


def test_same_generator_state_gives_the_same_scene():
    attributes = class_attributes(16)[5]
    first, second = (
        render_scene(attributes, SceneOptions(image_size=64), np.random.default_rng(3))
        for _ in range(2)
    )
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_difficulty_options_do_what_they_say():
    def render(**options):
        classes, options = class_attributes(16), SceneOptions(image_size=64, **options)
        return [render_scene(classes[i], options, np.random.default_rng(i)) for i in range(16)]

    def part_share(scenes):
        parts = np.stack([scene.parts for scene in scenes])
        return ((parts > 0) & (parts < 4)).sum() / (parts > 0).sum()

    assert (
        part_share(render(part_size=0.6)) < part_share(render()) < part_share(render(part_size=1.5))
    )
    sizes = [scene.mask.sum() for scene in render(min_area=0.3, max_area=0.6)]
    assert np.mean(sizes) > np.mean([scene.mask.sum() for scene in render(max_area=0.2)])
    noisy, clean = render(noise=0.2), render(noise=0.0)
    grain = [
        np.mean([cv2.Laplacian(scene.image, cv2.CV_32F).std() for scene in scenes])
        for scenes in (noisy, clean)
    ]
    assert grain[0] > grain[1]


def test_clutter_adds_distractors():
    # Without distractors the background is a texture between a few colors: fewer strong edges.
    def edges(clutter):
        images = [background(np.random.default_rng(i), 96, clutter).paint() for i in range(20)]
        return np.mean([(abs(cv2.Laplacian(image, cv2.CV_32F)) > 120).mean() for image in images])

    assert edges(3.0) > 1.2 * edges(0.0)


def test_fill_covers_exactly_the_pixels_of_a_rectangle():
    from learned_saliency.datamodules.creatures.anatomy import Shape, polygon

    # Edges through the centers of fine pixels belong to the polygon: 2 to 4.75 covers [2, 5).
    rectangle = Shape(
        polygon((2.125, 1.125), (4.875, 1.125), (4.875, 2.875), (2.125, 2.875)), 1, "red"
    )
    index = fill([rectangle], 8, 6, 4)
    expected = np.zeros((24, 32), np.uint8)
    expected[4:12, 8:20] = 1
    np.testing.assert_array_equal(index, expected)


def test_colors_convert_as_worked_out_by_hand():
    rgb = hsv_to_rgb(np.array([[0, 1, 1], [1 / 3, 1, 0.5], [7.0, 0, 1], [2 / 3, 2, 1]]))
    np.testing.assert_allclose(rgb, [[255, 0, 0], [0, 127.5, 0], [255, 255, 255], [0, 0, 255]])
    # sRGB primaries in CIE L*a*b* (D65): red is 53.2 80.1 67.2.
    lab = rgb_to_lab(np.array([[255.0, 0, 0], [255, 255, 255], [0, 0, 0]]))
    np.testing.assert_allclose(lab, [[53.2, 80.1, 67.2], [100, 0, 0], [0, 0, 0]], atol=0.3)


def test_tight_box_includes_both_ends():
    mask = np.zeros((7, 9), np.uint8)
    mask[2, 3] = mask[5, 8] = 1
    assert tight_box(mask) == (3, 2, 8, 5)
    with pytest.raises(ValueError, match="empty"):
        tight_box(np.zeros((4, 4), np.uint8))
