"""Perceptual hashes, and the groups of near duplicates."""

import cv2
import numpy as np
import pytest

from learned_saliency.datamodules import near_duplicate_groups, perceptual_hashes, read_gray


def photograph(seed, height=300, width=400):
    """Smooth random gray picture with the spectrum of a photograph, roughly."""
    generator = np.random.default_rng(seed)
    layers = [
        cv2.resize(generator.random((side, side)) / side, (width, height))
        for side in (3, 6, 12, 25)
    ]
    total = sum(layers)
    return (255 * (total - total.min()) / np.ptp(total)).astype(np.uint8)


def bits_apart(one, other):
    return int(np.bitwise_count(one ^ other).sum())


def test_a_copy_of_another_size_quality_and_brightness_is_near_and_others_are_far():
    for seed in range(10):
        image, stranger = photograph(seed), photograph(100 + seed)
        copy = cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)
        copy = cv2.imdecode(cv2.imencode(".jpg", copy, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0)
        copy = (20 + copy * 0.7).astype(np.uint8)
        first, second, other = perceptual_hashes([image, copy, stranger])
        assert bits_apart(first, second) <= 24
        assert bits_apart(first, other) > 60


def test_a_picture_of_one_color_has_no_hash_and_no_near_duplicate():
    hashes = perceptual_hashes([np.full((40, 60), value, np.uint8) for value in (0, 90, 255)])
    assert not hashes.any()
    assert near_duplicate_groups(hashes).tolist() == [0, 1, 2]
    assert perceptual_hashes([photograph(0)]).any()


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_a_file_is_decoded_at_a_reduced_size_that_leaves_its_hash_near(extension):
    image = photograph(3, 600, 800)
    data = cv2.imencode(extension, image)[1].tobytes()
    small = read_gray(data, 600)
    assert min(small.shape) >= 64
    assert small.shape == ((75, 100) if extension == ".jpg" else small.shape)
    first, second = perceptual_hashes([image, small])
    assert bits_apart(first, second) <= 24


def test_what_opencv_does_not_decode_has_no_picture():
    assert read_gray(b"no image", 100) is None
    assert read_gray(b"", 100) is None


def brute_force_groups(hashes, distance):
    """Spread each image's number over all that are near, until nothing changes."""
    near = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1) <= distance
    near &= hashes.any(1)[:, None] & hashes.any(1)[None]
    near |= np.eye(len(hashes), dtype=bool)
    groups = np.arange(len(hashes))
    for _ in range(len(hashes)):
        groups = np.where(near, groups[None], len(hashes)).min(1)
    return np.unique(groups, return_inverse=True)[1]


@pytest.mark.parametrize("distance", [0, 1, 7, 24, 60])
def test_groups_are_those_of_a_comparison_of_all_pairs(distance):
    generator = np.random.default_rng(distance)
    centers = generator.integers(0, 2, (60, 256)).astype(np.uint8)
    bits = centers[generator.integers(0, 60, 150)]
    for row in bits:
        row[generator.choice(256, generator.integers(0, distance + 1), replace=False)] ^= 1
    bits[generator.integers(0, 150, 5)] = 0
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    found = near_duplicate_groups(hashes, distance)
    assert found.tolist() == brute_force_groups(hashes, distance).tolist()
    assert len(set(found)) < len(hashes)


def test_groups_do_not_depend_on_the_order_of_the_images():
    generator = np.random.default_rng(5)
    bits = np.repeat(generator.integers(0, 2, (50, 256)).astype(np.uint8), 4, axis=0)
    for row in bits:
        row[generator.choice(256, 12, replace=False)] ^= 1
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    order = generator.permutation(len(hashes))
    pairs = [
        groups[:, None] == groups[None]
        for groups in map(near_duplicate_groups, (hashes, hashes[order]))
    ]
    assert np.array_equal(pairs[0][np.ix_(order, order)], pairs[1])


def test_no_images_make_no_groups():
    assert perceptual_hashes([]).shape == (0, 4)
    assert near_duplicate_groups(perceptual_hashes([])).tolist() == []


def test_hashes_of_another_shape_and_impossible_distances_are_refused():
    with pytest.raises(ValueError, match="shape"):
        near_duplicate_groups(np.zeros((3, 2), np.uint64))
    with pytest.raises(ValueError, match="distance"):
        near_duplicate_groups(np.zeros((3, 4), np.uint64), 256)
